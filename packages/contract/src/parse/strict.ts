/** Runs a strict schema over outside input and turns what it finds into one coded error. */
import { MoatError } from '@moat/core';
import type { z } from 'zod';
import { canonicalBytes } from '../canonical.ts';
import { MAX_CONTRACT_BYTES } from '../limits.ts';

export interface StrictOptions<T> {
  /** The canonical bytes of a value, where they are kept for later. */
  readonly bytesOf?: (value: T) => Uint8Array;
  /** Puts in what the input leaves out, before it is judged. */
  readonly complete?: (value: unknown) => unknown;
}

/**
 * @param input JSON text, its UTF-8 bytes, or a parsed value.
 * @throws `CONTRACT_TOO_NEW` when all that is wrong are unknown fields or a newer type, else `CONTRACT_INVALID`.
 */
export function parseStrict<T>(
  schema: z.ZodType<T>,
  what: string,
  input: unknown,
  { bytesOf = canonicalBytes, complete = (value) => value }: StrictOptions<T> = {},
): T {
  const value = complete(typeof input === 'string' || input instanceof Uint8Array ? readJson(what, input) : input);
  const result = judge(schema, what, value);
  if (!result.success) throw refusal(what, value, result.error.issues);
  if (bytesOf(result.data).length > MAX_CONTRACT_BYTES) throw invalid(what, 'it is larger than 1 MiB');
  return result.data;
}

/** The schema's own checks compare what has a `length`, whatever it is: an object for one throws (found by fuzzing). */
function judge<T>(schema: z.ZodType<T>, what: string, value: unknown): z.ZodSafeParseResult<T> {
  try {
    return schema.safeParse(value);
  } catch (cause) {
    throw invalid(what, 'a part of it is of another kind', { cause });
  }
}

function readJson(what: string, input: string | Uint8Array): unknown {
  if (input.length > MAX_CONTRACT_BYTES) throw invalid(what, 'it is larger than 1 MiB');
  try {
    const text = typeof input === 'string' ? input : new TextDecoder('utf-8', { fatal: true }).decode(input);
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw invalid(what, 'it is no JSON in UTF-8', { cause });
  }
}

function refusal(what: string, value: unknown, issues: readonly z.core.$ZodIssue[]): MoatError {
  const problem = issues.find((issue) => !isNews(value, issue)) ?? issues[0];
  if (problem === undefined) return invalid(what, 'it breaks its schema');
  const path = pathText(problem.path);
  if (!isNews(value, problem)) return invalid(what, problem.message, { path });
  const unknown = problem.code === 'unrecognized_keys' ? problem.keys.map((key) => key.slice(0, 64)).slice(0, 8) : [];
  return new MoatError('CONTRACT_TOO_NEW', `this Moat is too old for the ${what}`, {
    reason: unknown.length > 0 ? `unknown field ${unknown.join(', ')}` : `unknown type at ${path}`,
    details: { path, unknown },
    next: ['update Moat on this machine'],
  });
}

/** An unknown field, or a type tag of ours with a higher number than we know. */
function isNews(value: unknown, issue: z.core.$ZodIssue): boolean {
  if (issue.code === 'unrecognized_keys') return true;
  if (issue.code !== 'invalid_value' || issue.path.at(-1) !== 'type') return false;
  const [known] = issue.values;
  const found: unknown = issue.path.reduce<unknown>(
    (at, key) => (typeof at === 'object' && at !== null ? (at as Record<PropertyKey, unknown>)[key] : undefined),
    value,
  );
  if (typeof known !== 'string' || typeof found !== 'string') return false;
  const stem = known.slice(0, known.lastIndexOf('/') + 1);
  return found.startsWith(stem) && /^[1-9]\d{0,5}$/.test(found.slice(stem.length));
}

function pathText(path: readonly PropertyKey[]): string {
  const text = path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key).slice(0, 64)}`)).join('');
  return text.replace(/^\./, '').slice(0, 256);
}

function invalid(
  what: string,
  reason: string,
  { path = '', cause }: { readonly path?: string; readonly cause?: unknown } = {},
): MoatError<'CONTRACT_INVALID'> {
  return new MoatError('CONTRACT_INVALID', `the ${what} is invalid${path === '' ? '' : ` at ${path}`}`, {
    reason,
    details: { path },
    ...(cause === undefined ? {} : { cause }),
  });
}
