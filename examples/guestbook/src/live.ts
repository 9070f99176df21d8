/** Everyone who has the page open: new entries by server-sent events, presence by WebSocket. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Entry } from './entry.ts';
import { acceptWebSocket, type WebSocket } from './websocket.ts';

const MAX_READERS = 5000;
/** A listener that lets this much pile up is disconnected; EventSource comes back by itself. */
const MAX_UNREAD_BYTES = 256 * 1024;
const KEEPALIVE_MS = 15_000;
/** Arrivals within this time are told in one message. */
const PRESENCE_DELAY_MS = 100;
/** Entries a returning listener can catch up on. */
const MAX_RECENT = 200;

export class Live implements Disposable {
  readonly #listeners = new Set<ServerResponse>();
  readonly #readers = new Set<WebSocket>();
  readonly #keepalive: NodeJS.Timeout;
  #recent: Entry[] = [];
  #presence: NodeJS.Timeout | undefined;

  constructor() {
    this.#keepalive = setInterval(() => this.#toListeners(': still here\n\n'), KEEPALIVE_MS);
    this.#keepalive.unref();
  }

  /** Tells every listener. */
  publish(entry: Entry): void {
    this.#recent.push(entry);
    if (this.#recent.length > MAX_RECENT) this.#recent.shift();
    this.#toListeners(encodeEvent(entry));
  }

  /** Serves `GET /events`; a `last-event-id` gets what it missed. */
  serveEvents(request: IncomingMessage, response: ServerResponse): void {
    if (this.#listeners.size >= MAX_READERS) {
      response.writeHead(503, { 'retry-after': '5' }).end();
      return;
    }
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    response.write('retry: 1000\n\n');
    const lastSeen = Number(request.headers['last-event-id'] ?? Number.NaN);
    for (const entry of this.#recent) if (entry.number > lastSeen) response.write(encodeEvent(entry));
    this.#listeners.add(response);
    response.on('close', () => this.#listeners.delete(response));
  }

  /** Serves `GET /live`: presence to all, `wave` to all, `echo` back to its sender. */
  serveSocket(request: IncomingMessage, socket: Duplex): void {
    if (this.#readers.size >= MAX_READERS) {
      socket.end(
        'HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\ncontent-length: 0\r\nconnection: close\r\n\r\n',
      );
      return;
    }
    const reader = acceptWebSocket(request, socket, {
      onMessage: (text) => this.#take(reader, text),
      onClose: () => {
        if (reader !== undefined && this.#readers.delete(reader)) this.#countSoon();
      },
    });
    if (reader === undefined) return;
    this.#readers.add(reader);
    this.#countSoon();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#keepalive);
    clearTimeout(this.#presence);
    for (const listener of this.#listeners) listener.end();
    for (const reader of this.#readers) reader.close(1001);
  }

  #take(reader: WebSocket | undefined, text: string): void {
    let message: { type?: unknown; text?: unknown };
    try {
      message = JSON.parse(text) as typeof message;
    } catch {
      return;
    }
    if (message?.type === 'wave') this.#toReaders(JSON.stringify({ type: 'wave' }));
    if (message?.type === 'echo') reader?.send(JSON.stringify({ type: 'echo', text: message.text }));
  }

  #countSoon(): void {
    this.#presence ??= setTimeout(() => {
      this.#presence = undefined;
      this.#toReaders(JSON.stringify({ type: 'reading', count: this.#readers.size }));
    }, PRESENCE_DELAY_MS);
  }

  #toReaders(text: string): void {
    for (const reader of this.#readers) reader.send(text);
  }

  #toListeners(text: string): void {
    for (const listener of this.#listeners) {
      if (listener.writableLength > MAX_UNREAD_BYTES) listener.destroy();
      else listener.write(text);
    }
  }
}

function encodeEvent(entry: Entry): string {
  return `event: entry\nid: ${entry.number}\ndata: ${JSON.stringify(entry)}\n\n`;
}
