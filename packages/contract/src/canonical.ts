/**
 * The one byte form of a JSON value (RFC 8785, JCS): what is hashed and signed.
 * Members are sorted by UTF-16 code units, numbers and strings are written as ECMAScript's JSON does
 * (RFC 8785 §3.2.2), and whatever JSON cannot say is refused, not dropped.
 */
import { createHash } from 'node:crypto';
import { MoatError, toBase64url, type Hash } from '@moat/core';

/** Deeper than anything Moat signs; keeps a hostile value from exhausting the stack. */
const MAX_DEPTH = 64;

/** Texts of frozen values that come again. */
const known = new WeakMap<object, string>();

/** Spares the next ones who write it the work. `value` is frozen, all of it, and `text` its canonical text. */
export function rememberText(value: object, text: string): void {
  known.set(value, text);
}

/**
 * RFC 8785 text of a JSON value.
 * @throws `NOT_CANONICAL` for NaN, infinities, undefined, bigint, functions, symbols, lone surrogates,
 * objects other than plain ones and arrays, and nesting below 64 levels.
 */
export function canonicalize(value: unknown): string {
  return write(value, 0);
}

/** The canonical text in UTF-8. @throws `NOT_CANONICAL` */
export function canonicalBytes(value: unknown): Uint8Array {
  return Buffer.from(write(value, 0));
}

/** SHA-256 of the canonical bytes, base64url. @throws `NOT_CANONICAL` */
export function hashCanonical(value: unknown): Hash {
  return toBase64url(createHash('sha256').update(write(value, 0)).digest());
}

function write(value: unknown, depth: number): string {
  if (value === null) return 'null';
  if (typeof value === 'string') return writeString(value);
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw refused('a number that is not finite');
    // -0 is written as 0, as ECMAScript does.
    return String(value);
  }
  if (typeof value !== 'object') throw refused(`a value of type ${typeof value}`);
  if (depth >= MAX_DEPTH) throw refused('more than 64 levels');
  const text = known.get(value);
  if (text !== undefined) return text;
  return Array.isArray(value) ? writeArray(value, depth) : writeObject(value, depth);
}

function writeArray(values: readonly unknown[], depth: number): string {
  let text = '[';
  // By index: a hole in a sparse array is undefined and refused.
  for (let i = 0; i < values.length; i++) text += (i === 0 ? '' : ',') + write(values[i], depth + 1);
  return text + ']';
}

function writeObject(value: object, depth: number): string {
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) throw refused('an object that is not plain');
  let text = '{';
  // The default sort compares UTF-16 code units, as RFC 8785 §3.2.3 asks.
  for (const [i, key] of Object.keys(value).toSorted().entries()) {
    text += (i === 0 ? '' : ',') + writeString(key) + ':' + write((value as Record<string, unknown>)[key], depth + 1);
  }
  return text + '}';
}

function writeString(text: string): string {
  if (!text.isWellFormed()) throw refused('a lone surrogate');
  return JSON.stringify(text);
}

function refused(what: string): MoatError<'NOT_CANONICAL'> {
  return new MoatError('NOT_CANONICAL', `cannot write ${what} in canonical JSON`);
}
