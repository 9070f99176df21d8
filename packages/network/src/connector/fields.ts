/**
 * Header fields at the last hop: what is valid (RFC 9110 §5), what belongs to one connection only (§7.6.1),
 * and what a trailer may not carry (§6.5.1).
 */

/** tchar of RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Tab, visible ASCII and obs-text: no other control character, so no CR, LF or NUL. */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
/** Up to 15 digits: below 2^53 and never rounded. */
const CONTENT_LENGTH = /^[0-9]{1,15}$/;

export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

export function isFieldValue(text: string): boolean {
  return VALUE.test(text);
}

/** Digits only, one value: no sign, space, comma or hexadecimal; undefined otherwise. */
export function parseContentLength(value: string): number | undefined {
  return CONTENT_LENGTH.test(value) ? Number(value) : undefined;
}

/** Fields that end at this connection, in both directions. */
const CONNECTION_SPECIFIC: ReadonlySet<string> = new Set([
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
]);

export function isConnectionSpecific(name: string): boolean {
  return CONNECTION_SPECIFIC.has(name);
}

/**
 * Fields of a request that we write ourselves or that end here: `expect` was answered by whoever took the
 * body in, and would leave a pooled connection in an unknown state.
 */
export function isRewritten(name: string): boolean {
  return name === 'host' || name === 'content-length' || name === 'expect' || CONNECTION_SPECIFIC.has(name);
}

/** Framing, routing, authentication and content fields mean something else when merged late, so they are dropped. */
const FORBIDDEN_TRAILERS: ReadonlySet<string> = new Set([
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
  'x-forwarded-for',
  'x-forwarded-host',
  'x-forwarded-proto',
  'forwarded',
]);

export function isTrailerAllowed(name: string): boolean {
  return !FORBIDDEN_TRAILERS.has(name);
}

/** Lower-case members of a comma-separated list such as Connection; undefined when one is no token. */
export function parseTokenList(value: string): string[] | undefined {
  const tokens = value
    .split(',')
    .map((part) => part.trim().toLowerCase())
    .filter((part) => part !== '');
  return tokens.every(isToken) ? tokens : undefined;
}
