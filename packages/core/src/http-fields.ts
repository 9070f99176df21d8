/**
 * Which fields of an HTTP message end at a hop, and which may stand in a trailer. Every hop has to agree on both: what
 * one drops and the next believes is how requests are smuggled.
 */
import type { FieldList, RequestHead } from './ports/link.ts';

/** Fields about one connection, in either direction: RFC 9110 §7.6.1, and what older and newer protocols added to it. */
export const CONNECTION_SPECIFIC_FIELDS: readonly string[] = [
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
];
const CONNECTION_SPECIFIC: ReadonlySet<string> = new Set(CONNECTION_SPECIFIC_FIELDS);

/** True for {@link CONNECTION_SPECIFIC_FIELDS}; `name` is in lower case. */
export function isConnectionSpecific(name: string): boolean {
  return CONNECTION_SPECIFIC.has(name);
}

/** Framing, routing, authentication, content and our own fields mean something else when merged late (RFC 9110 §6.5.1). */
const NOT_IN_TRAILERS: ReadonlySet<string> = new Set([
  ...CONNECTION_SPECIFIC,
  'age',
  'authorization',
  'cache-control',
  'content-encoding',
  'content-length',
  'content-location',
  'content-range',
  'content-type',
  'cookie',
  'date',
  'expect',
  'expires',
  'forwarded',
  'host',
  'location',
  'max-forwards',
  'pragma',
  'range',
  'retry-after',
  'set-cookie',
  'trailer',
  'vary',
  'www-authenticate',
  'x-real-ip',
  'x-request-id',
]);

/**
 * True for names that may stand in a trailer section; `name` is in lower case. `_` and `.` are left out because CGI-like
 * services read them as `-`, and so as other names.
 */
export function isTrailerAllowed(name: string): boolean {
  return !NOT_IN_TRAILERS.has(name) && !name.startsWith('x-forwarded-') && !name.includes('_') && !name.includes('.');
}

/** All fields of a request in order, for readers that remember nothing about the lists. */
export function allFields({ fields, more }: Pick<RequestHead, 'fields' | 'more'>): FieldList {
  return more === undefined || more.length === 0 ? fields : [...fields, ...more];
}
