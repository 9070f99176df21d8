/**
 * Header fields at the last hop, as tables: what is valid (RFC 9110 §5), and what we write ourselves. One look-up a
 * byte, no regular expression on the path of a request.
 */
import { CONNECTION_SPECIFIC_FIELDS } from '@moat/core';

const LETTERS = 'abcdefghijklmnopqrstuvwxyz';
/** tchar of RFC 9110 §5.6.2 that have no case. */
const OTHER_TCHARS = "!#$%&'*+-.^_`|~0123456789";

/** For each byte of a token (RFC 9110 §5.6.2) itself in lower case, 0 for any other byte. */
export const LOWER_TCHAR: Readonly<Uint8Array> = (() => {
  const table = new Uint8Array(256);
  for (const char of LETTERS + OTHER_TCHARS) table[char.charCodeAt(0)] = char.charCodeAt(0);
  for (const char of LETTERS) table[char.toUpperCase().charCodeAt(0)] = char.charCodeAt(0);
  return table;
})();

/** 1 for tab, visible ASCII, space and obs-text: no other control character, so no CR, LF or NUL (RFC 9110 §5.5). */
export const FIELD_BYTE: Readonly<Uint8Array> = Uint8Array.from({ length: 256 }, (_, byte) =>
  byte === 0x09 || (byte >= 0x20 && byte !== 0x7f) ? 1 : 0,
);

export function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    // A character beyond the table finds undefined.
    if (!LOWER_TCHAR[text.charCodeAt(i)]) return false;
  }
  return text !== '';
}

export function isFieldValue(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    if (FIELD_BYTE[text.charCodeAt(i)] !== 1) return false;
  }
  return true;
}

const HOST_BYTE: Readonly<Uint8Array> = tableOf(`${LETTERS}${LETTERS.toUpperCase()}0123456789._~-`);
const ADDRESS_BYTE: Readonly<Uint8Array> = tableOf('abcdefABCDEF0123456789:.');
const COLON = 0x3a;
const OPENING = 0x5b;
const CLOSING = 0x5d;
const MAX_PORT_DIGITS = 5;

/** A name or an IPv4 address, or `[IPv6]`, and perhaps a port. */
export function isAuthority(text: string): boolean {
  const bracketed = text.charCodeAt(0) === OPENING;
  const table = bracketed ? ADDRESS_BYTE : HOST_BYTE;
  const from = bracketed ? 1 : 0;
  const { length } = text;
  let at = from;
  while (at < length && table[text.charCodeAt(at)] === 1) at += 1;
  if (at === from || (bracketed && text.charCodeAt(at++) !== CLOSING)) return false;
  if (at === length) return true;
  const digits = length - at - 1;
  if (text.charCodeAt(at) !== COLON || digits < 1 || digits > MAX_PORT_DIGITS) return false;
  for (let i = at + 1; i < length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return false;
  }
  return true;
}

function tableOf(chars: string): Readonly<Uint8Array> {
  const table = new Uint8Array(256);
  for (const char of chars) table[char.charCodeAt(0)] = 1;
  return table;
}

/** Up to 15 digits: below 2^53 and never rounded. */
const MAX_LENGTH_DIGITS = 15;

/** Digits only, one value: no sign, space, comma or hexadecimal; undefined otherwise. */
export function parseContentLength(value: string): number | undefined {
  if (value === '' || value.length > MAX_LENGTH_DIGITS) return undefined;
  let length = 0;
  for (let i = 0; i < value.length; i++) {
    const digit = value.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return undefined;
    length = length * 10 + digit;
  }
  return length;
}

/** What a field of a request is to us; `dropped` ones end here. */
export type RequestRole = 'plain' | 'cookie' | 'content-length' | 'transfer-encoding' | 'dropped';

const REQUEST_ROLES: ReadonlyMap<string, RequestRole> = new Map([
  ...CONNECTION_SPECIFIC_FIELDS.map((name) => [name, 'dropped'] as const),
  ['transfer-encoding', 'transfer-encoding'],
  ['content-length', 'content-length'],
  ['cookie', 'cookie'],
  // We write our own.
  ['host', 'dropped'],
  // It was answered by whoever took the body in, and would leave a pooled connection in an unknown state.
  ['expect', 'dropped'],
]);
/** 1 where one of them has that length and first letter: most names are told apart by that alone. */
const MAYBE: Readonly<Uint8Array> = (() => {
  const table = new Uint8Array(32 * 32);
  for (const name of REQUEST_ROLES.keys()) table[slotOf(name)] = 1;
  return table;
})();

/** `name` in any case. */
export function requestRole(name: string): RequestRole {
  if (MAYBE[slotOf(name)] !== 1) return 'plain';
  return REQUEST_ROLES.get(name.toLowerCase()) ?? 'plain';
}

function slotOf(name: string): number {
  return (name.length << 5) | (name.charCodeAt(0) & 31);
}

/** Lower-case members of a comma-separated list such as Connection; undefined when one is no token. */
export function parseTokenList(value: string): string[] | undefined {
  const tokens = value
    .split(',')
    .map((part) => part.trim().toLowerCase())
    .filter((part) => part !== '');
  return tokens.every(isToken) ? tokens : undefined;
}
