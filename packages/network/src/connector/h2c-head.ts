/** Heads of requests to a service that speaks HTTP/2 without TLS (RFC 9113 §3.3), and of its answers. */
import { MoatError, allFields, type FieldList, type RequestHead } from '@moat/core';
import { isFieldValue, isToken, parseContentLength, requestRole } from './fields.ts';

/** `path?query` in visible bytes; a fragment never travels. */
const TARGET = /^\/[!"$-~\x80-\xff]*$/;
const AUTHORITY = /^(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?$/i;
const MAX_METHOD_BYTES = 32;

export interface H2cHead {
  /** Names and values in turn, pseudo-fields first. */
  readonly headers: string[];
  /** Bytes the body must have; undefined = any. */
  readonly contentLength: number | undefined;
}

/** The head as fields of HTTP/2, with everything checked that a service could read otherwise. @throws `REQUEST_INVALID` */
export function h2cHead(head: RequestHead): H2cHead {
  const { method, target, authority, bodyless } = head;
  if (!isToken(method) || method.length > MAX_METHOD_BYTES || method === 'CONNECT') throw invalid('method');
  if (!TARGET.test(target) && !(target === '*' && method === 'OPTIONS')) throw invalid('target');
  if (!AUTHORITY.test(authority)) throw invalid('authority');
  if (head.upgrade !== undefined) throw invalid('upgrade');
  const headers = [':method', method, ':scheme', 'http', ':authority', authority, ':path', target];
  let contentLength: number | undefined;
  for (const [name, value] of allFields(head)) {
    if (!isToken(name) || name !== name.toLowerCase() || !isFieldValue(value)) throw invalid('field');
    const role = requestRole(name);
    if (role === 'dropped') continue;
    if (role === 'transfer-encoding') throw invalid('transfer-encoding');
    if (role === 'content-length') {
      if (contentLength !== undefined) throw invalid('content-length');
      contentLength = parseContentLength(value);
      if (contentLength === undefined || (bodyless && contentLength > 0)) throw invalid('content-length');
    }
    headers.push(name, value);
  }
  // A service of gRPC takes it for the sign that trailers reach the client.
  headers.push('te', 'trailers');
  return { headers, contentLength };
}

/** A flat list of names and values without pseudo-fields; nghttp2 checked the characters. */
export function fieldsOf(raw: readonly string[]): FieldList {
  const fields: [string, string][] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] as string;
    if (!name.startsWith(':')) fields.push([name, raw[at + 1] as string]);
  }
  return fields;
}

export function invalid(part: string): MoatError<'REQUEST_INVALID'> {
  return new MoatError('REQUEST_INVALID', `the request's ${part} cannot be written without ambiguity`, {
    details: { part },
  });
}
