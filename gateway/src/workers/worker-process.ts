/** A worker as control sees it: a child process with its channel, from its start to its exit. */
import { fork, type ChildProcess } from 'node:child_process';
import { getCompileCacheDir } from 'node:module';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { SpentTicket } from '@moat/link';
import { refusal } from '../errors.ts';
import { NO_FIGURES } from '../metrics/figures.ts';
import { Ipc } from './ipc.ts';
import type {
  ControlQuestion,
  FromWorker,
  ToWorker,
  WorkerCounts,
  WorkerNews,
  WorkerQuestion,
  WorkerStart,
} from './protocol.ts';

/** Milliseconds from the start of the process until it takes links; a busy machine takes its time. */
const READY_MS = 30_000;
/** Milliseconds without an answer after which a worker counts as hanging. */
const ANSWER_MS = 10_000;

export interface WorkerProcessDeps {
  /** Told by number. */
  onNews(worker: WorkerProcess, news: WorkerNews): void;
  onQuestion(worker: WorkerProcess, question: WorkerQuestion): Promise<unknown>;
  /** Called once, when the process is over. */
  onExit(worker: WorkerProcess, how: { readonly code: number | null; readonly signal: string | null }): void;
}

export interface WorkerProcessOptions {
  /** Never used twice. */
  readonly number: number;
  /** Which of the public sockets are its own. */
  readonly place: number;
  readonly start: WorkerStart;
  readonly fds: readonly number[];
}

const NO_COUNTS: WorkerCounts = {
  connections: 0,
  running: 0,
  total: 0,
  rssBytes: 0,
  figures: NO_FIGURES,
  streams: new Map(),
};

export class WorkerProcess {
  readonly number: number;
  readonly place: number;
  readonly startedMs: number;
  /** `ready` once it takes links, `serving` once it accepts clients, `leaving` once told to go. */
  state: 'starting' | 'ready' | 'serving' | 'leaving' | 'gone' = 'starting';
  /** As it said last. */
  counts: WorkerCounts = NO_COUNTS;
  readonly gone: Promise<void>;
  readonly #child: ChildProcess;
  readonly #ipc: Ipc<ToWorker, FromWorker, ControlQuestion, WorkerQuestion>;
  readonly #ready = Promise.withResolvers<void>();
  readonly #listening = Promise.withResolvers<void>();
  #lastHandover = 0;

  constructor(deps: WorkerProcessDeps, options: WorkerProcessOptions, nowMs: number) {
    this.number = options.number;
    this.place = options.place;
    this.startedMs = nowMs;
    this.#child = fork(MODULE, [], {
      serialization: 'advanced',
      execArgv: process.execArgv.filter((flag) => !NOT_INHERITED.test(flag)),
      env: { ...process.env, ...compileCache() },
      // Its log goes where ours goes; on standard output it says requests at most, where gateway.yaml wants them there.
      stdio: ['ignore', 'inherit', 'inherit', 'ipc', ...options.fds],
    });
    this.#ready.promise.catch(() => undefined);
    this.#listening.promise.catch(() => undefined);
    this.#ipc = new Ipc(this.#child, {
      onMessage: (message) => this.#receive(message, deps),
      onQuestion: (question) => deps.onQuestion(this, question),
    });
    this.gone = new Promise((resolve) => {
      const end = (code: number | null, signal: string | null): void => {
        if (this.state === 'gone') return;
        this.state = 'gone';
        const error = refusal('WORKER_GONE', 'a worker ended before it was ready', { retryable: true });
        this.#ready.reject(error);
        this.#listening.reject(error);
        deps.onExit(this, { code, signal });
        resolve();
      };
      this.#child.once('exit', end);
      this.#child.once('error', () => end(null, null));
    });
    this.say({ type: 'start', start: options.start });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  say(message: ToWorker): void {
    this.#ipc.say(message);
  }

  /** Resolves when it takes links. @throws `WORKER_GONE` */
  ready(): Promise<void> {
    return this.#within(this.#ready.promise, READY_MS);
  }

  /** Has it accept clients; resolves when it does. @throws `WORKER_GONE` */
  listen(): Promise<void> {
    if (this.state === 'ready') this.say({ type: 'listen' });
    return this.#within(this.#listening.promise, ANSWER_MS);
  }

  /** Asks for its counts, which also shows that everything said before was done. @throws `WORKER_GONE` */
  async refresh(): Promise<void> {
    this.counts = (await this.#ipc.ask({ what: 'counts' }, ANSWER_MS)) as WorkerCounts;
  }

  /** The worker answers the preamble, once it heard that this process holds the socket no more; false = it is gone. */
  passSocket(socket: Socket, ticket: SpentTicket): boolean {
    this.#lastHandover += 1;
    return this.#ipc.say({ type: 'socket', id: this.#lastHandover, ticket }, socket);
  }

  passChannel(far: Socket, peer: string, relayed: boolean): boolean {
    return this.#ipc.say({ type: 'channel', peer, relayed }, far);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  #receive(message: FromWorker, deps: WorkerProcessDeps): void {
    switch (message.type) {
      case 'ready':
        if (this.state === 'starting') this.state = 'ready';
        return this.#ready.resolve();
      case 'listening':
        if (this.state === 'ready') this.state = 'serving';
        return this.#listening.resolve();
      case 'taken':
        return this.say({ type: 'begin', id: message.id });
      case 'linked':
      case 'unlinked':
      case 'served':
        return deps.onNews(this, message);
    }
  }

  async #within(promise: Promise<void>, ms: number): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        reject(refusal('WORKER_GONE', `a worker was not ready within ${ms} ms`, { retryable: true }));
      }, ms);
    });
    try {
      await Promise.race([promise, late]);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Beside this file, as source or as built. */
const MODULE = fileURLToPath(import.meta.resolve(import.meta.url.endsWith('.ts') ? './main.ts' : './main.js'));
/** Flags of a process that tests, debugs or evaluates. */
const NOT_INHERITED = /^--(?:test|inspect|watch|eval|print|input-type)|^-[ep]/;

/** Compiled code is kept where this process keeps it. */
function compileCache(): Record<string, string> {
  const directory = getCompileCacheDir();
  return directory === undefined ? {} : { NODE_COMPILE_CACHE: dirname(directory) };
}
