/**
 * Which fields pass a hop. Fields named in Connection are removed first and ours are set after, so that
 * `Connection: X-Forwarded-For` cannot take them away again (CVE-2024-45410).
 */
import type { FieldList } from '@moat/core';

/** Fields of one connection (RFC 9110 §7.6.1). */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'te',
  'transfer-encoding',
  'upgrade',
  'http2-settings',
  'expect',
]);

/** What may not come in a trailer: framing, routing, authentication, our own (RFC 9110 §6.5.1). */
const NOT_IN_TRAILERS: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'content-encoding',
  'content-type',
  'content-range',
  'trailer',
  'authorization',
  'www-authenticate',
  'cookie',
  'set-cookie',
  'cache-control',
  'max-forwards',
  'range',
  'location',
  'forwarded',
  'x-real-ip',
  'x-request-id',
]);

const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** Control characters other than tab, and what is not Latin-1 (RFC 9110 §5.5). */
const NOT_IN_VALUES = /[\0-\x08\x0a-\x1f\x7f]|[^\0-\xff]/;

/** True for a field that can be written to the wire as it is. Names are in lower case. */
export function isWritable([name, value]: readonly [string, string]): boolean {
  return NAME.test(name) && !NOT_IN_VALUES.test(value);
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
  return fields.filter(([name]) => !HOP_BY_HOP.has(name) && !named?.has(name));
}

/** True for names that may stand in a trailer section. */
export function isTrailer(name: string): boolean {
  return (
    !HOP_BY_HOP.has(name) &&
    !NOT_IN_TRAILERS.has(name) &&
    !name.startsWith('x-forwarded-') &&
    !name.includes('_') &&
    !name.includes('.')
  );
}
