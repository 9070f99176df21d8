/** Machines by the dozen behind one address, all in one process, and when each had a version in force. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const PROCESS = fileURLToPath(new URL('crowd-main.ts', import.meta.url));

/** What one machine says of itself. */
interface Said {
  readonly peers?: readonly string[];
  readonly joined?: number;
  readonly machine?: number;
  readonly version?: number;
  readonly result?: string;
  readonly at?: number;
}

export class Crowd implements AsyncDisposable {
  readonly size: number;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #peers: PromiseWithResolvers<readonly string[]> = Promise.withResolvers();
  /** Version to the time at which each machine had it in force, in milliseconds since 1970. */
  readonly #applied = new Map<number, Map<number, number>>();
  readonly #joined = new Set<number>();
  readonly #ended: PromiseWithResolvers<never> = Promise.withResolvers();
  #wake: () => void = () => undefined;

  private constructor(child: ChildProcess, folder: string, size: number) {
    [this.#child, this.#folder, this.size] = [child, folder, size];
    const { stdout } = child;
    if (stdout === null) throw new Error('no output');
    createInterface({ input: stdout }).on('line', (line) => this.#hear(JSON.parse(line) as Said));
    this.#ended.promise.catch(() => undefined);
    child.once('exit', (code) => this.#ended.reject(new Error(`the crowd ended with ${code}`)));
  }

  /** Resolves when all their agents run. */
  static async start(namespace: string, size: number): Promise<Crowd> {
    const folder = await mkdtemp(join(tmpdir(), 'moat-crowd-'));
    const program = [process.execPath, '--disable-warning=ExperimentalWarning', '--conditions=@moat/source', PROCESS];
    const child = spawn('ip', ['netns', 'exec', namespace, ...program, folder, String(size)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const crowd = new Crowd(child, folder, size);
    await crowd.peers();
    return crowd;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** PeerIds, in order. */
  peers(): Promise<readonly string[]> {
    return Promise.race([this.#peers.promise, this.#ended.promise]);
  }

  /** All take their places by a locator, a few at once. */
  async join(token: string): Promise<void> {
    this.#child.stdin?.write(`${token.trim()}\n`);
    await this.#until(() => this.#joined.size === this.size);
  }

  /** When each machine had `version` in force; resolves when all but `gone` had. */
  async applied(version: number, gone: number = 0): Promise<readonly number[]> {
    await this.#until(() => (this.#applied.get(version)?.size ?? 0) >= this.size - gone);
    return [...(this.#applied.get(version)?.values() ?? [])];
  }

  /** Resident memory of all of them together, in bytes. */
  async residentBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1024;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#ended.promise.catch(() => undefined);
    await rm(this.#folder, { recursive: true, force: true });
  }

  #hear({ peers, joined, machine, version, result, at }: Said): void {
    if (peers !== undefined) this.#peers.resolve(peers);
    if (joined !== undefined) this.#joined.add(joined);
    if (machine !== undefined && version !== undefined && at !== undefined && result === 'applied') {
      const times = this.#applied.get(version) ?? new Map<number, number>();
      this.#applied.set(version, times);
      if (!times.has(machine)) times.set(machine, at);
    }
    this.#wake();
  }

  async #until(isMet: () => boolean): Promise<void> {
    while (!isMet()) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await Promise.race([promise, this.#ended.promise]);
    }
  }
}
