/**
 * Can two kinds of question be told apart by how long the answer takes? Both are asked in turn, in random order, and
 * the times are compared by rank (Mann–Whitney): the probability that a known one takes longer than an unknown one is
 * one half where nothing tells. Rank, not mean: a busy machine makes outliers, and they fall on both alike.
 */
import { randomInt } from 'node:crypto';

export interface Trial {
  /** Fresh conditions for one round, e.g. a connection. */
  readonly begin: () => Promise<{ ask: (known: boolean) => Promise<void>; end: () => Promise<void> }>;
  readonly rounds: number;
  /** Questions in a round, half of them known. */
  readonly asksARound: number;
}

export interface Verdict {
  readonly distinguishable: boolean;
  /** How likely a known one takes longer, each time it was measured. */
  readonly likelihoods: readonly number[];
}

/** Deviations of the statistic under the null hypothesis that count as telling. */
const SIGMAS = 5;
/** Measured again so often before it is believed. */
const REPEATS = 3;

export async function distinguishable(trial: Trial): Promise<Verdict> {
  const likelihoods: number[] = [];
  for (let i = 0; i < REPEATS; i++) {
    const { likelihood, deviation } = await measure(trial);
    likelihoods.push(Math.round(likelihood * 1000) / 1000);
    if (Math.abs(likelihood - 0.5) <= SIGMAS * deviation) return { distinguishable: false, likelihoods };
  }
  return { distinguishable: true, likelihoods };
}

async function measure(trial: Trial): Promise<{ likelihood: number; deviation: number }> {
  const times: Record<'known' | 'unknown', number[]> = { known: [], unknown: [] };
  for (let round = 0; round < trial.rounds; round++) {
    const { ask, end } = await trial.begin();
    for (const known of shuffled(Array.from({ length: trial.asksARound }, (_, i) => i % 2 === 0))) {
      const begin = performance.now();
      await ask(known);
      times[known ? 'known' : 'unknown'].push(performance.now() - begin);
    }
    await end();
  }
  const { known, unknown } = times;
  let longer = 0;
  for (const a of known) for (const b of unknown) longer += a > b ? 1 : a === b ? 0.5 : 0;
  const pairs = known.length * unknown.length;
  return { likelihood: longer / pairs, deviation: Math.sqrt((known.length + unknown.length + 1) / (12 * pairs)) };
}

function shuffled<T>(items: T[]): T[] {
  for (let i = items.length - 1; i >= 0; i--) {
    const j = randomInt(i + 1);
    items.push(...items.splice(j, 1));
  }
  return items;
}
