/**
 * Coverage-guided fuzzing on V8's own block coverage: an input that runs a block no input ran before is kept, and
 * mutated further. Slow beside a native fuzzer (a thousand inputs a second), but it needs nothing that is not in Node:
 * the addon of @jazzer.js/core wants a newer glibc than Debian 12 has, and its older versions are fetched past npm.
 */
import { Session, type Profiler } from 'node:inspector';
import { mutateBytes, mutateJson, type Random } from './mutate.ts';

/** Inputs between two looks at the coverage; one that found something is looked for among them. */
const BATCH = 32;
/** Inputs kept of one target. Drop rule: the oldest after the seeds. */
const KEPT = 512;

export interface Target {
  readonly name: string;
  /** Real inputs. */
  readonly seeds: readonly Buffer[];
  /** Sources whose blocks count, by a part of their URL. */
  readonly sources: readonly string[];
  /** Throws for what must never happen; what is refused in order is its own affair. */
  run(input: Buffer): void;
}

export interface Report {
  readonly runs: number;
  /** Blocks that the seeds ran, and all inputs. */
  readonly blocks: { readonly seeds: number; readonly all: number };
  readonly kept: number;
}

export class Coverage implements Disposable {
  readonly #session = new Session();

  /** To begin before the sources are loaded: what was compiled earlier is counted by function only. */
  constructor() {
    this.#session.connect();
    this.#session.post('Profiler.enable');
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** Blocks run since the last call. */
  take(sources: readonly string[]): Set<string> {
    const blocks = new Set<string>();
    // the session answers in the same turn
    this.#session.post('Profiler.takePreciseCoverage', (error, { result } = { result: [] }) => {
      if (error !== null) throw error;
      for (const script of result) {
        if (sources.some((part) => script.url.includes(part))) addBlocks(blocks, script);
      }
    });
    return blocks;
  }

  [Symbol.dispose](): void {
    this.#session.post('Profiler.stopPreciseCoverage');
    this.#session.disconnect();
  }
}

function addBlocks(blocks: Set<string>, { url, functions }: Profiler.ScriptCoverage): void {
  for (const { ranges } of functions) {
    for (const { startOffset, endOffset, count } of ranges) {
      // how often, in powers of two: a loop that runs longer is something new too
      if (count > 0) blocks.add(`${url} ${startOffset} ${endOffset} ${Math.min(6, Math.floor(Math.log2(count)))}`);
    }
  }
}

/** Runs a target for `ms` milliseconds. @throws what the target throws, with the input in base64 */
export function fuzz(target: Target, coverage: Coverage, random: Random, ms: number): Report {
  const known = new Set<string>();
  const run = (input: Buffer): void => {
    try {
      target.run(Buffer.from(input));
    } catch (cause) {
      const shown = input.length > 4096 ? `${input.length} bytes` : input.toString('base64');
      throw new Error(`${target.name}: ${String(cause)}; input ${shown}`, { cause });
    }
  };
  const learn = (): boolean => {
    const before = known.size;
    for (const block of coverage.take(target.sources)) known.add(block);
    return known.size > before;
  };
  coverage.take(target.sources);
  for (const seed of target.seeds) run(seed);
  learn();
  const seedBlocks = known.size;
  const corpus = [...target.seeds];
  let runs = corpus.length;
  for (const end = performance.now() + ms; performance.now() < end;) {
    const batch = Array.from({ length: BATCH }, () => mutated(corpus, random));
    for (const input of batch) run(input);
    runs += BATCH;
    if (!learn()) continue;
    // which of them: run each again, and keep those with a block of their own
    const own = new Set<string>();
    for (const input of batch) {
      run(input);
      const blocks = coverage.take(target.sources);
      if ([...blocks].some((block) => !own.has(block)) && corpus.length < KEPT + target.seeds.length)
        corpus.push(input);
      for (const block of blocks) own.add(block);
    }
  }
  return { runs, blocks: { seeds: seedBlocks, all: known.size }, kept: corpus.length - target.seeds.length };
}

function mutated(corpus: readonly Buffer[], random: Random): Buffer {
  const base = corpus[random.below(corpus.length)] ?? Buffer.alloc(0);
  if (random.below(3) === 0) {
    // the end of one behind the beginning of another
    const other = corpus[random.below(corpus.length)] ?? base;
    return Buffer.concat([
      base.subarray(0, random.below(base.length + 1)),
      other.subarray(random.below(other.length + 1)),
    ]);
  }
  if (base[0] === 0x7b && random.below(2) === 0) {
    try {
      return Buffer.from(JSON.stringify(mutateJson(JSON.parse(base.toString()), random)) ?? 'null');
    } catch {
      // not JSON any more: its bytes then
    }
  }
  return mutateBytes(base, random);
}
