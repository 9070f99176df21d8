/** The database service: keeps entries in a journal and tells watchers about new ones. */
import { createServer, type Server, type Socket } from 'node:net';
import type { Entry } from './entry.ts';
import { GuestbookError } from './errors.ts';
import { Journal } from './journal.ts';
import {
  MAX_LISTED,
  MAX_REQUEST_BYTES,
  parseRequest,
  readLines,
  requestId,
  type Answer,
  type Request,
} from './protocol.ts';

/** A watcher that lets this much pile up is disconnected; it watches again from where it was. */
const MAX_UNREAD_BYTES = 4 * 1024 * 1024;
/** Newest entries kept in memory: what `newest` and `watch` can answer. */
const MAX_IN_MEMORY = 1000;

export interface DatabaseOptions {
  readonly file: string;
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
}

/** Opens the journal and listens. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const { journal, entries } = await Journal.open(options.file);
  const database = new Database(journal, entries);
  try {
    await database.listen(options.host, options.port);
    return database;
  } catch (error) {
    await database[Symbol.asyncDispose]();
    throw error;
  }
}

/** One writer: entries are numbered in the order in which they reach the journal. */
export class Database implements AsyncDisposable {
  readonly #journal: Journal;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #watchers = new Set<Socket>();
  #recent: Entry[];
  /** Stored or on their way to the disk; a retry waits for the first attempt. */
  readonly #byKey = new Map<string, Promise<Entry>>();
  #next: number;

  constructor(journal: Journal, entries: readonly Entry[]) {
    this.#journal = journal;
    this.#recent = entries.slice(-MAX_IN_MEMORY);
    this.#next = (entries.at(-1)?.number ?? 0) + 1;
    for (const entry of this.#recent) this.#byKey.set(entry.key, Promise.resolve(entry));
    this.#server = createServer((socket) => this.#serve(socket));
    this.#server.maxConnections = 1000;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  listen(host: string, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(port, host, () => resolve());
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
    await this.#journal[Symbol.asyncDispose]();
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, 30_000);
    socket.on('error', () => undefined);
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#watchers.delete(socket);
    });
    readLines(socket, MAX_REQUEST_BYTES, (line) => {
      this.#answer(socket, line).catch((error: unknown) => {
        const id = requestId(line);
        const code = error instanceof GuestbookError ? error.code : 'BUSY';
        const message = error instanceof Error ? error.message : 'the entry was not stored';
        send(socket, { ...(id === undefined ? {} : { id }), error: { code, message } });
      });
    });
  }

  async #answer(socket: Socket, line: string): Promise<void> {
    const request = parseRequest(line);
    switch (request.op) {
      case 'append':
        return send(socket, { id: request.id, entry: await this.#append(request) });
      case 'newest':
        return send(socket, { id: request.id, entries: this.#recent.slice(-request.limit).toReversed() });
      case 'watch': {
        const missed = this.#recent.filter((entry) => entry.number > request.after).slice(-MAX_LISTED);
        send(socket, { id: request.id, entries: missed });
        this.#watchers.add(socket);
      }
    }
  }

  #append(request: Request & { op: 'append' }): Promise<Entry> {
    const known = this.#byKey.get(request.key);
    if (known !== undefined) return known;
    const stored = this.#store(request);
    this.#byKey.set(request.key, stored);
    stored.catch(() => this.#byKey.delete(request.key));
    return stored;
  }

  async #store({ key, draft }: Request & { op: 'append' }): Promise<Entry> {
    const entry: Entry = { number: this.#next, time: new Date().toISOString(), key, ...draft };
    this.#next += 1;
    await this.#journal.append(entry);
    this.#recent.push(entry);
    if (this.#recent.length > MAX_IN_MEMORY) {
      const dropped = this.#recent.shift();
      if (dropped !== undefined) this.#byKey.delete(dropped.key);
    }
    for (const watcher of this.#watchers) send(watcher, { entry });
    return entry;
  }
}

function send(socket: Socket, answer: Answer): void {
  if (socket.destroyed) return;
  if (socket.writableLength > MAX_UNREAD_BYTES) return void socket.destroy();
  socket.write(`${JSON.stringify(answer)}\n`);
}
