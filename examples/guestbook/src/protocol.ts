/**
 * What web and database say to each other: one JSON object a line over TCP, UTF-8.
 *
 *   → {"id":1,"op":"append","key":"…","name":"Ana","text":"Hello"}   ← {"id":1,"entry":{…}}   after fsync
 *   → {"id":2,"op":"newest","limit":50}                            ← {"id":2,"entries":[…]}  newest first
 *   → {"id":3,"op":"watch","after":17}                             ← {"id":3,"entries":[…]}  then {"entry":{…}} for each new one
 *   ← {"id":1,"error":{"code":"ENTRY_INVALID","message":"…"}}
 */
import type { Socket } from 'node:net';
import { parseDraft, type Draft, type Entry } from './entry.ts';
import { GuestbookError } from './errors.ts';

/** The longest line either side accepts from a writer of requests. */
export const MAX_REQUEST_BYTES: number = 8 * 1024;
/** The longest line of an answer: {@link MAX_LISTED} entries. */
export const MAX_ANSWER_BYTES: number = 1024 * 1024;
/** Entries one answer holds at most. */
export const MAX_LISTED = 200;

export type Request =
  | { readonly id: number; readonly op: 'append'; readonly key: string; readonly draft: Draft }
  | { readonly id: number; readonly op: 'newest'; readonly limit: number }
  | { readonly id: number; readonly op: 'watch'; readonly after: number };

export interface Answer {
  readonly id?: number;
  readonly entry?: Entry;
  readonly entries?: readonly Entry[];
  readonly error?: { readonly code: string; readonly message: string };
}

/** @throws `REQUEST_INVALID`, `ENTRY_INVALID` */
export function parseRequest(line: string): Request {
  const input = parseJson(line);
  const { id, op } = input;
  if (!isCount(id)) throw new GuestbookError('REQUEST_INVALID', 'a request has an id');
  switch (op) {
    case 'append': {
      const { key } = input;
      if (typeof key !== 'string' || key === '' || key.length > 64) {
        throw new GuestbookError('REQUEST_INVALID', 'append needs a key of 1 to 64 characters');
      }
      return { id, op, key, draft: parseDraft(input) };
    }
    case 'newest': {
      const { limit } = input;
      if (!isCount(limit)) throw new GuestbookError('REQUEST_INVALID', 'newest needs a limit');
      return { id, op, limit: Math.min(limit, MAX_LISTED) };
    }
    case 'watch': {
      const { after } = input;
      if (!isCount(after)) throw new GuestbookError('REQUEST_INVALID', 'watch needs a number to begin after');
      return { id, op, after };
    }
    default:
      throw new GuestbookError('REQUEST_INVALID', 'known requests are append, newest and watch');
  }
}

/** The id of a line that may be otherwise wrong, so that its error finds its way back. */
export function requestId(line: string): number | undefined {
  try {
    const { id } = parseJson(line);
    return isCount(id) ? id : undefined;
  } catch {
    return undefined;
  }
}

/** @throws `REQUEST_INVALID` */
export function parseAnswer(line: string): Answer {
  return parseJson(line);
}

/** Calls `onLine` for each whole line; a line above `maxBytes` destroys the socket. */
export function readLines(socket: Socket, maxBytes: number, onLine: (line: string) => void): void {
  let parts: Buffer[] = [];
  let bytes = 0;
  socket.on('data', (chunk: Buffer) => {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
      parts.push(chunk.subarray(start, end));
      bytes += end - start;
      if (bytes > maxBytes) return tooLong();
      const line = Buffer.concat(parts).toString('utf8');
      parts = [];
      bytes = 0;
      start = end + 1;
      if (line.trim() !== '') onLine(line);
      if (socket.destroyed) return;
    }
    if (start < chunk.length) {
      parts.push(chunk.subarray(start));
      bytes += chunk.length - start;
      if (bytes > maxBytes) tooLong();
    }
  });
  const tooLong = (): void => {
    socket.destroy(new GuestbookError('REQUEST_TOO_LARGE', `a line has at most ${maxBytes} bytes`));
  };
}

function parseJson(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (error) {
    throw new GuestbookError('REQUEST_INVALID', 'not a line of JSON', error);
  }
  throw new GuestbookError('REQUEST_INVALID', 'not a JSON object');
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
