/** The recovery key that `moat init` offers: another owner of the same weight, which is nothing but 24 words on paper. */
import type { OwnerKey } from '@moat/core';
import { createOwnerKey, wordsOfSeed } from '@moat/identity';
import type { Context } from '../context.ts';
import { renderTable } from '../output/table.ts';

/** What it is called among the owners. */
export const RECOVERY_NAME = 'recovery';

const COLUMNS = 4;

export interface Recovery {
  readonly key: OwnerKey;
  /** The words, where nobody has confirmed to have them; then they are part of the result. */
  readonly unread: string | null;
}

/**
 * Shows the words once and has it confirmed that they were written down. Undefined when nobody wants one.
 * @param wanted by a flag; undefined asks.
 * @throws `DECLINED` when they were not written down.
 */
export async function offerRecovery(context: Context, wanted: boolean | undefined): Promise<Recovery | undefined> {
  const { prompt, io, style } = context;
  const asked =
    wanted ?? (await prompt.choose('Make a recovery key? 24 words that replace a lost key', { otherwise: false }));
  if (!asked) return undefined;
  const pair = createOwnerKey();
  const seed = pair.exportSeed();
  const words = wordsOfSeed(seed);
  seed.fill(0);
  if (!prompt.interactive) return { key: pair.key, unread: words };
  io.stderr.write(`\n${numbered(words)}\n\n`);
  io.stderr.write(
    `  ${style.bold('Write them down: they are shown once and kept nowhere.')} Who has them owns the network.\n`,
  );
  await prompt.confirm('Are they on paper?', []);
  return { key: pair.key, unread: null };
}

/** What `moat init` says about it. */
export function recoveryLines(
  { style, json, prompt }: Context,
  recovery: Recovery | undefined,
  wanted: boolean | undefined,
): string[] {
  if (recovery === undefined) {
    if (wanted === false) return [];
    return [`${style.attention} no recovery key: a lost owner key cannot be replaced; moat init --recovery makes one`];
  }
  const known = `${style.ok} recovery key ${recovery.key}`;
  if (recovery.unread === null || json || prompt.interactive) return [known];
  return [
    known,
    '',
    numbered(recovery.unread),
    '',
    `${style.attention} write the words down now: they are kept nowhere`,
  ];
}

function numbered(words: string): string {
  const list = words.split(' ').map((word, i) => `${String(i + 1).padStart(2)}. ${word}`);
  const rows = list.length / COLUMNS;
  const lines = Array.from({ length: rows }, (_, row) => list.filter((__, i) => i % rows === row));
  return renderTable(lines, { indent: 2 });
}
