/** What subjects of one group share while they run, and the one place that ends all of it. */
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Programs } from './programs.ts';

/** Makes something that several subjects use; it is started once and ends with the group. */
export type SharedPart<T extends AsyncDisposable> = (context: BenchContext) => Promise<T>;

export class BenchContext implements AsyncDisposable {
  /** Removed with the context. */
  readonly dir: string;
  /** Aborted on Ctrl-C. */
  readonly signal: AbortSignal;
  readonly programs: Programs = new Programs();
  readonly #shared = new Map<SharedPart<AsyncDisposable>, Promise<AsyncDisposable>>();
  #dirs = 0;

  private constructor(dir: string, signal: AbortSignal) {
    this.dir = dir;
    this.signal = signal;
  }

  static async create(signal: AbortSignal): Promise<BenchContext> {
    return new BenchContext(await mkdtemp(join(tmpdir(), 'moat-bench-')), signal);
  }

  /** A new folder for one part. */
  async newDir(name: string): Promise<string> {
    const dir = join(this.dir, `${++this.#dirs}-${name}`);
    await mkdir(dir, { mode: 0o755 });
    return dir;
  }

  /** The one instance of `make` in this group. */
  shared<T extends AsyncDisposable>(make: SharedPart<T>): Promise<T> {
    const known = this.#shared.get(make) as Promise<T> | undefined;
    if (known) return known;
    const made = make(this);
    this.#shared.set(make, made);
    return made;
  }

  /** Ends what is shared, the youngest first, then every process that is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const part of [...this.#shared.values()].toReversed()) {
      try {
        await (await part)[Symbol.asyncDispose]();
      } catch {
        // It never started, or is gone: the processes below are ended either way.
      }
    }
    await this.programs[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true, force: true });
  }
}
