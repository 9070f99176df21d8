/**
 * Which fields pass a hop. Fields named in Connection are removed first and ours are set after, so that
 * `Connection: X-Forwarded-For` cannot take them away again (CVE-2024-45410).
 */
import { isConnectionSpecific, type FieldList } from '@moat/core';
import type { ParsedHead } from './parse.ts';

const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** Control characters other than tab, and what is not Latin-1 (RFC 9110 §5.5). */
const NOT_IN_VALUES = /[\0-\x08\x0a-\x1f\x7f]|[^\0-\xff]/;

/** True for a field that can be written to the wire as it is. Names are in lower case. */
export function isWritable([name, value]: readonly [string, string]): boolean {
  return NAME.test(name) && !NOT_IN_VALUES.test(value);
}

/** True for a call of gRPC, which says by a field of its own how long its client waits. */
export function isCall({ version, fields }: Pick<ParsedHead, 'version' | 'fields'>): boolean {
  if (version !== '2') return false;
  return fields.some(([name, value]) => name === 'content-type' && value.startsWith('application/grpc'));
}

/** End-to-end fields only. Names are in lower case. */
export function endToEndFields(fields: FieldList): (readonly [string, string])[] {
  let named: Set<string> | undefined;
  for (const [name, value] of fields) {
    if (name !== 'connection') continue;
    named ??= new Set();
    for (const option of value.split(',')) named.add(option.trim().toLowerCase());
  }
  // Never removable by the other side: what a message's meaning hangs on.
  named?.delete('content-length');
  named?.delete('host');
  // `expect` is answered by the hop that reads it.
  return fields.filter(([name]) => !isConnectionSpecific(name) && name !== 'expect' && !named?.has(name));
}
