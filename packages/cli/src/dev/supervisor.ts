/**
 * The processes of `moat dev`: each started with its own log, watched while it runs, stopped in order.
 * They run in sessions of their own, so that a Ctrl-C reaches only us and the order holds.
 */
import { MoatError } from '@moat/core';
import { spawn, type ChildProcess } from 'node:child_process';
import { createWriteStream, mkdirSync, type WriteStream } from 'node:fs';
import { join } from 'node:path';

const STOP_TIMEOUT_MS = 5000;
const KEPT_LINES = 20;

export interface ProcessSpec {
  readonly name: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Higher ones are stopped first, those of one level together. */
  readonly level: number;
}

export interface SupervisorDeps {
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
}

export interface SupervisorOptions {
  readonly logs: string;
}

/** One running process. */
export class Supervised {
  readonly name: string;
  readonly level: number;
  readonly logFile: string;
  readonly #child: ChildProcess;
  readonly #exited: Promise<string>;
  readonly #lines: string[] = [];
  readonly #listeners = new Set<(line: string) => void>();
  #how: string | undefined;

  constructor(spec: ProcessSpec, logs: string) {
    this.name = spec.name;
    this.level = spec.level;
    this.logFile = join(logs, `${spec.name}.log`);
    const log = createWriteStream(this.logFile, { flags: 'w', mode: 0o600 });
    this.#child = spawn(process.execPath, [...spec.args], {
      env: spec.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) this.#follow(stream, log);
    this.#exited = new Promise((resolve) => {
      const end = (how: string): void => {
        this.#how = how;
        log.end();
        resolve(how);
      };
      this.#child.once('error', (error) => end(error.message));
      this.#child.once('exit', (code, signal) => end(signal === null ? `exit code ${code}` : `signal ${signal}`));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get running(): boolean {
    return this.#how === undefined;
  }

  /** Resolves with how it ended. */
  get exited(): Promise<string> {
    return this.#exited;
  }

  /** The first line that `pick` takes, also from before the call. @throws `DEV_PROCESS_ENDED` */
  async line<T>(pick: (line: string) => T | undefined, signal: AbortSignal): Promise<T> {
    for (const line of this.#lines) {
      const found = pick(line);
      if (found !== undefined) return found;
    }
    const waiting = Promise.withResolvers<T>();
    const listener = (line: string): void => {
      const found = pick(line);
      if (found !== undefined) waiting.resolve(found);
    };
    const stop = (): void => waiting.reject(signal.reason);
    this.#listeners.add(listener);
    signal.addEventListener('abort', stop, { once: true });
    try {
      return await Promise.race([waiting.promise, this.#exited.then(() => Promise.reject(this.endedError()))]);
    } finally {
      this.#listeners.delete(listener);
      signal.removeEventListener('abort', stop);
    }
  }

  endedError(): MoatError {
    return new MoatError('DEV_PROCESS_ENDED', `${this.name} ended: ${this.#how ?? 'still running'}`, {
      reason: this.#lastWords(),
      next: [`less ${this.logFile}`, 'moat dev --fresh   begins anew'],
    });
  }

  /** The line most likely to say why: an error, else whatever is no log line. */
  #lastWords(): string {
    const spoken = this.#lines.filter((line) => line.trim() !== '');
    const error = spoken.findLast((line) => /^\w*Error\b|^✗|"error":|"level":(?:50|60)/.test(line));
    const line = error ?? spoken.findLast((one) => !one.startsWith('{'));
    return line === undefined ? 'its log does not say why' : sentenceOf(line).slice(0, 500);
  }

  /** SIGTERM, then SIGKILL; resolves when it is gone. */
  async stop(): Promise<void> {
    if (!this.running) return;
    this.#kill('SIGTERM');
    const timer = setTimeout(() => this.#kill('SIGKILL'), STOP_TIMEOUT_MS);
    await this.#exited;
    clearTimeout(timer);
  }

  /** Without waiting. */
  kill(): void {
    if (this.running) this.#kill('SIGKILL');
  }

  #kill(signal: 'SIGTERM' | 'SIGKILL'): void {
    try {
      // SIGKILL goes to the whole session: `moat run` cannot pass it on to its program.
      if (signal === 'SIGKILL' && this.#child.pid !== undefined) process.kill(-this.#child.pid, signal);
      else this.#child.kill(signal);
    } catch {
      // It is gone already.
    }
  }

  #follow(stream: NodeJS.ReadableStream | null, log: WriteStream): void {
    let rest = '';
    stream?.setEncoding('utf8');
    stream?.on('data', (text: string) => {
      if (!log.writableEnded) log.write(text);
      const lines = (rest + text).split('\n');
      rest = (lines.pop() ?? '').slice(-4096);
      for (const line of lines) {
        this.#lines.push(line);
        if (this.#lines.length > KEPT_LINES) this.#lines.shift();
        for (const listener of this.#listeners) listener(line);
      }
    });
  }
}

/** A log line's message and error; any other line as it is. */
function sentenceOf(line: string): string {
  try {
    const { msg, err, error } = JSON.parse(line) as Record<string, { message?: string } | string | undefined>;
    const parts = [msg, err, error].map((part) => (typeof part === 'object' ? part.message : part));
    return parts.filter((part) => part !== undefined).join(': ');
  } catch {
    return line;
  }
}

/** Started in order, stopped by level. */
export class Supervisor implements AsyncDisposable {
  readonly #deps: SupervisorDeps;
  readonly #options: SupervisorOptions;
  readonly #running: Supervised[] = [];
  readonly #unexpected = Promise.withResolvers<never>();
  #stopping = false;

  constructor(deps: SupervisorDeps, options: SupervisorOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#unexpected.promise.catch(() => undefined);
  }

  /** Rejects with `DEV_PROCESS_ENDED` when one ends by itself. */
  get unexpectedEnd(): Promise<never> {
    return this.#unexpected.promise;
  }

  get count(): number {
    return this.#running.length;
  }

  start(spec: ProcessSpec): Supervised {
    this.#deps.signal.throwIfAborted();
    mkdirSync(this.#options.logs, { recursive: true, mode: 0o700 });
    const child = new Supervised(spec, this.#options.logs);
    this.#running.push(child);
    void child.exited.then(() => {
      if (!this.#stopping) this.#unexpected.reject(child.endedError());
    });
    return child;
  }

  /** Ends all at once. */
  killAll(): void {
    this.#stopping = true;
    for (const child of this.#running) child.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    const levels = [...new Set(this.#running.map(({ level }) => level))].toSorted((a, b) => b - a);
    for (const level of levels) {
      await Promise.all(this.#running.filter((child) => child.level === level).map((child) => child.stop()));
    }
  }
}
