/** One row of the tables: bytes as a client may write them, and what must come of them. */
import { HOST } from '../../edge-under-test.ts';

/** A request as the member behind the gateway has it. */
export interface Expected {
  readonly method: string;
  readonly target: string;
  readonly authority: string;
  readonly body: string;
  /** Some of its fields; undefined = must not be there. */
  readonly fields?: Readonly<Record<string, string | undefined>>;
  readonly trailers?: readonly (readonly [string, string])[];
}

export interface WireCase {
  readonly name: string;
  /** The client ends its direction behind these bytes. */
  readonly half?: boolean;
  /** Latin-1. */
  readonly send: string;
  /** Final statuses the client sees, in order; a list where the rule leaves a choice. */
  readonly answers: readonly (number | readonly number[])[];
  /** Whole requests the member sees, in order. */
  readonly seen: readonly Expected[];
}

/** What a row may say beside its bytes and its result. */
export interface Extra {
  /** Nothing is written behind the row's own bytes. */
  readonly bare?: boolean;
}

/** The Host line of the published name. */
export const H: string = `Host: ${HOST}\r\n`;
/** Follows every refused request in the same write; no row may let it through. */
const SMUGGLED = `GET /smuggled HTTP/1.1\r\n${H}\r\n`;
/** Follows every accepted request: if it is read as it is meant, every message before it ended where it should. */
const LAST = `GET /last HTTP/1.1\r\n${H}Connection: close\r\n\r\n`;

export function got(
  method: string,
  target: string,
  body: string = '',
  more: Partial<Pick<Expected, 'authority' | 'fields' | 'trailers'>> = {},
): Expected {
  return { method, target, body, authority: HOST, ...more };
}

/** Refused with one of these statuses, and the connection is closed: what follows is never read. */
export function refused(name: string, send: string, status: number | readonly number[], extra: Extra = {}): WireCase {
  return { name, send: extra.bare === true ? send : send + SMUGGLED, answers: [status], seen: [] };
}

/** Read as exactly these requests, and the connection goes on. */
export function accepted(name: string, send: string, seen: readonly Expected[]): WireCase {
  const all = [...seen, got('GET', '/last')];
  return { name, send: send + LAST, answers: all.map(() => 200), seen: all };
}

/** Read as exactly these requests, and the connection ends with the last of them: what follows is never read. */
export function ending(name: string, send: string, seen: readonly Expected[], extra: Extra = {}): WireCase {
  return { name, send: extra.bare === true ? send : send + SMUGGLED, answers: seen.map(() => 200), seen };
}

/** The client leaves in the middle of it: nothing arrives. */
export function cut(name: string, send: string, answers: WireCase['answers']): WireCase {
  return { name, send, answers, seen: [], half: true };
}

/** A head with these lines between Host and the empty line. */
export function head(start: string, ...lines: readonly string[]): string {
  return `${start}\r\n${H}${lines.map((line) => `${line}\r\n`).join('')}\r\n`;
}

/** A character as a name of a row can show it. */
export function shown(character: string): string {
  const code = character.charCodeAt(0);
  return code > 0x20 && code < 0x7f ? character : `0x${code.toString(16).padStart(2, '0')}`;
}
