/** A YAML file held against a strict schema; each complaint has file, line and column. */
import { readFile } from 'node:fs/promises';
import { MoatError, errorCode } from '@moat/core';
import { LineCounter, parseDocument } from 'yaml';
import type { z } from 'zod';

/** One source of configuration and what it says. */
export interface ConfigLayer<T> {
  readonly origin: string;
  readonly value: T;
}

/**
 * Reads one file; undefined when there is none.
 * @param keys the keys it may have, for "did you mean".
 * @throws `CONFIG_INVALID`
 */
export async function readConfigFile<T>(
  path: string,
  schema: z.ZodType<T>,
  keys: readonly string[],
): Promise<ConfigLayer<T> | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (errorCode(cause) === 'ENOENT' || errorCode(cause) === 'ENOTDIR') return undefined;
    throw new MoatError('CONFIG_INVALID', `cannot read ${path}`, { cause, reason: errorCode(cause) });
  }
  return { origin: path, value: parseConfig(text, path, schema, keys) };
}

function parseConfig<T>(text: string, path: string, schema: z.ZodType<T>, keys: readonly string[]): T {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  const complaint = (offset: number, message: string): MoatError<'CONFIG_INVALID'> => {
    const { line, col } = lines.linePos(offset);
    return new MoatError('CONFIG_INVALID', `${path}:${line}:${col}: ${message}`);
  };
  const [syntax] = document.errors;
  if (syntax !== undefined) throw complaint(syntax.pos[0], syntax.message.split('\n')[0] ?? 'not YAML');
  const parsed = schema.safeParse((document.toJS({ maxAliasCount: 16 }) as unknown) ?? {});
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const unknown = issue?.code === 'unrecognized_keys' ? issue.keys[0] : undefined;
  const node: unknown = document.getIn(unknown === undefined ? (issue?.path ?? []) : [unknown], true);
  const range = typeof node === 'object' && node !== null && 'range' in node ? (node.range as [number] | null) : null;
  if (unknown === undefined) throw complaint(range?.[0] ?? 0, `${issue?.path.join('.')}: ${issue?.message}`);
  const meant = keys.find((key) => isNear(key.toLowerCase(), unknown.toLowerCase()));
  throw complaint(range?.[0] ?? 0, `unknown key ${unknown}${meant === undefined ? '' : `; did you mean ${meant}?`}`);
}

/** True when one edit or a swap of neighbours, or two edits in long words, leads from one to the other. */
function isNear(a: string, b: string): boolean {
  const limit = Math.min(a.length, b.length) > 5 ? 2 : 1;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitute = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitute, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return (row[b.length] ?? Infinity) <= limit;
}
