/**
 * The web page's side of the database: one connection that is redialed for ever, requests that
 * survive a lost connection within their deadline, and every new entry exactly once.
 */
import { connect, type Socket } from 'node:net';
import type { Draft, Entry } from './entry.ts';
import { GuestbookError, type GuestbookErrorCode } from './errors.ts';
import { MAX_ANSWER_BYTES, parseAnswer, readLines, type Answer } from './protocol.ts';

const MAX_BACKOFF_MS = 2000;
/** Requests under way; more are refused with `BUSY`. */
const MAX_PENDING = 512;

export interface DatabaseClientOptions {
  readonly host: string;
  readonly port: number;
  /** How long one request may take, redials included. @defaultValue 5000 */
  readonly timeoutMs?: number;
  /** Called for each new entry, in order. */
  readonly onEntry: (entry: Entry) => void;
}

interface Pending {
  readonly line: string;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

export class DatabaseClient implements Disposable {
  readonly #options: DatabaseClientOptions;
  readonly #pending = new Map<number, Pending>();
  #socket: Socket | undefined;
  #connected = false;
  #redial: NodeJS.Timeout | undefined;
  #backoffMs = 100;
  #nextId = 1;
  #lastSeen = 0;
  #closed = false;

  constructor(options: DatabaseClientOptions) {
    this.#options = options;
    this.#dial();
  }

  get connected(): boolean {
    return this.#connected;
  }

  /** Stores one entry. @throws `ENTRY_INVALID`, `DATABASE_AWAY`, `BUSY`, `JOURNAL_FULL` */
  async append(draft: Draft, key: string): Promise<Entry> {
    const { entry } = await this.#request({ op: 'append', key, ...draft });
    if (entry === undefined) throw new GuestbookError('REQUEST_INVALID', 'the database answered without an entry');
    return entry;
  }

  /** The newest entries, newest first. @throws `DATABASE_AWAY` */
  async newest(limit: number): Promise<readonly Entry[]> {
    return (await this.#request({ op: 'newest', limit })).entries ?? [];
  }

  [Symbol.dispose](): void {
    this.#closed = true;
    clearTimeout(this.#redial);
    this.#socket?.destroy();
    for (const id of this.#pending.keys()) this.#fail(id, away());
  }

  #request(body: object): Promise<Answer> {
    if (this.#pending.size >= MAX_PENDING) {
      return Promise.reject(new GuestbookError('BUSY', 'too many requests wait for the database'));
    }
    const id = this.#nextId++;
    const line = `${JSON.stringify({ id, ...body })}\n`;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(id, away()), this.#options.timeoutMs ?? 5000);
      this.#pending.set(id, { line, resolve, reject, timer });
      if (this.#connected) this.#socket?.write(line);
    });
  }

  #dial(): void {
    if (this.#closed) return;
    const socket = connect({ host: this.#options.host, port: this.#options.port, noDelay: true, keepAlive: true });
    this.#socket = socket;
    socket.on('error', () => undefined);
    socket.on('connect', () => {
      this.#connected = true;
      // The watch has no pending entry: its answer is told apart by an id below 1.
      socket.write(`${JSON.stringify({ id: 0, op: 'watch', after: this.#lastSeen })}\n`);
      for (const pending of this.#pending.values()) socket.write(pending.line);
    });
    socket.on('close', () => {
      this.#connected = false;
      if (this.#closed) return;
      this.#redial = setTimeout(() => this.#dial(), this.#backoffMs * (0.5 + Math.random() / 2));
      this.#backoffMs = Math.min(this.#backoffMs * 2, MAX_BACKOFF_MS);
    });
    readLines(socket, MAX_ANSWER_BYTES, (line) => {
      this.#backoffMs = 100;
      try {
        this.#take(parseAnswer(line));
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
  }

  #take(answer: Answer): void {
    if (answer.id === undefined) return this.#see(answer.entry === undefined ? [] : [answer.entry]);
    if (answer.id === 0) return this.#see(answer.entries ?? []);
    const pending = this.#pending.get(answer.id);
    if (pending === undefined) return;
    if (answer.error !== undefined) {
      return this.#fail(answer.id, new GuestbookError(answer.error.code as GuestbookErrorCode, answer.error.message));
    }
    this.#pending.delete(answer.id);
    clearTimeout(pending.timer);
    pending.resolve(answer);
  }

  #see(entries: readonly Entry[]): void {
    for (const entry of entries) {
      if (entry.number <= this.#lastSeen) continue;
      this.#lastSeen = entry.number;
      this.#options.onEntry(entry);
    }
  }

  #fail(id: number, error: Error): void {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    pending.reject(error);
  }
}

function away(): GuestbookError {
  return new GuestbookError('DATABASE_AWAY', 'the database does not answer');
}
