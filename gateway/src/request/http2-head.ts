/**
 * A request's head from the fields of a HEADERS frame (RFC 9113 §8.3) to what `parse.ts` reads, which then holds the same
 * rules as for HTTP/1.1. nghttp2 has refused before: names in upper case, fields of one connection, pseudo-fields that are
 * unknown, doubled, late or missing, a `te` other than `trailers`. Pure.
 */
import { isTrailerAllowed, type FieldList, type MoatError } from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';
import { isWritable } from './fields.ts';
import { parseHead, type ParsedHead, type ParseRules } from './parse.ts';

export interface Http2HeadRules extends ParseRules {
  /** Names and values with 32 bytes for each field (RFC 9113 §6.5.2). */
  readonly maxHeadBytes: number;
  /** The stream ended with the head. */
  readonly endsHere: boolean;
  /** A fresh `sec-websocket-key`: HTTP/2 has none, the service needs one. */
  webSocketKey(): string;
}

/** Visible ASCII without a fragment (RFC 9112 §3.2). */
const TARGET = /^[!"$-~]+$/;
/** What a field counts beyond its name and value. */
const FIELD_OVERHEAD = 32;
/** The same bound as HTTP/1.1's. */
const MAX_FIELDS = 128;
/** A server that takes trailers for fields would find another request there. */
const FRAMING: ReadonlySet<string> = new Set(['content-length', 'transfer-encoding', 'host']);

interface PseudoFields {
  method: string;
  scheme: string;
  path: string;
  authority: string | undefined;
  protocol: string | undefined;
}

/**
 * Reads the flat list of names and values a stream began with.
 * @throws `REQUEST_MALFORMED` and the other codes of {@link parseHead}
 */
export function readHttp2Head(raw: readonly string[], rules: Http2HeadRules): ParsedHead {
  const pseudo: PseudoFields = { method: '', scheme: '', path: '', authority: undefined, protocol: undefined };
  const fields: [string, string][] = [];
  let bytes = 0;
  let host: string | undefined;
  let cookie: [string, string] | undefined;
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] as string;
    const value = raw[at + 1] as string;
    bytes += name.length + value.length + FIELD_OVERHEAD;
    if (name.startsWith(':')) {
      setPseudo(pseudo, name, value);
    } else if (!isWritable([name, value]) || hasOuterBlank(value)) {
      throw malformed('a field has characters no field has');
    } else if (name === 'host') {
      if (host !== undefined) throw malformed('Host stands twice');
      host = value;
    } else if (name === 'cookie') {
      // Sent in crumbs so that they compress; everywhere else it is one field (RFC 9113 §8.2.3).
      if (cookie) cookie[1] = `${cookie[1]}; ${value}`;
      else fields.push((cookie = [name, value]));
    } else if (name === 'sec-websocket-key' && pseudo.protocol !== undefined) {
      // It belongs to the handshake of HTTP/1.1, which is not the client's here.
    } else {
      fields.push([name, value]);
    }
  }
  if (bytes > rules.maxHeadBytes) throw refusal('HEAD_TOO_LARGE', 'the head of the request is too large');
  if (fields.length > (rules.maxFields ?? MAX_FIELDS))
    throw refusal('HEAD_TOO_LARGE', 'the request has too many fields');
  const authority = authorityOf(pseudo.authority, host);
  if (pseudo.protocol !== undefined)
    return parseHead(webSocket(pseudo, pseudo.protocol, authority, fields, rules), rules);
  if (pseudo.method !== 'CONNECT') checkScheme(pseudo.scheme, rules);
  if (pseudo.method !== 'CONNECT' && !TARGET.test(pseudo.path)) {
    throw malformed('the target has characters no target has');
  }
  // Only a path or `*` may stand here; a whole URL is a proxy's (RFC 9113 §8.3.1).
  if (!pseudo.path.startsWith('/') && pseudo.path !== '*' && pseudo.method !== 'CONNECT') {
    throw malformed('the target is no path');
  }
  return parseHead(
    {
      method: pseudo.method,
      target: pseudo.path,
      version: '2',
      endsHere: rules.endsHere,
      fields: authority === undefined ? fields : [['host', authority], ...fields],
    },
    rules,
  );
}

/** Trailers of a request that may be passed on. @throws `REQUEST_MALFORMED` */
export function readHttp2Trailers(raw: readonly string[]): FieldList {
  const trailers: [string, string][] = [];
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] as string;
    const value = raw[at + 1] as string;
    if (!isWritable([name, value])) throw malformed('a trailer has characters no field has');
    if (FRAMING.has(name)) throw malformed('a trailer says where the message ends');
    if (isTrailerAllowed(name)) trailers.push([name, value]);
  }
  return trailers;
}

/** An extended CONNECT (RFC 8441) as the request to switch protocols that it stands for. */
function webSocket(
  pseudo: PseudoFields,
  protocol: string,
  authority: string | undefined,
  fields: FieldList,
  rules: Http2HeadRules,
): Parameters<typeof parseHead>[0] {
  if (pseudo.method !== 'CONNECT') throw malformed('a protocol is asked for without CONNECT');
  if (protocol !== 'websocket') throw refusal('METHOD_UNKNOWN', 'only websocket may be asked for by CONNECT');
  checkScheme(pseudo.scheme, rules);
  if (!TARGET.test(pseudo.path) || !pseudo.path.startsWith('/')) throw malformed('the target is no path');
  const host: FieldList = authority === undefined ? [] : [['host', authority]];
  return {
    method: 'GET',
    target: pseudo.path,
    version: '2',
    endsHere: true,
    fields: [
      ...host,
      ['connection', 'upgrade'],
      ['upgrade', protocol],
      ['sec-websocket-key', rules.webSocketKey()],
      ...fields.filter(([name]) => name !== 'content-length'),
    ],
  };
}

function setPseudo(pseudo: PseudoFields, name: string, value: string): void {
  switch (name) {
    case ':method':
      pseudo.method = value;
      return;
    case ':scheme':
      pseudo.scheme = value;
      return;
    case ':path':
      pseudo.path = value;
      return;
    case ':authority':
      pseudo.authority = value;
      return;
    case ':protocol':
      pseudo.protocol = value;
      return;
    default:
      throw malformed('the request has a pseudo-field that no request has');
  }
}

/** One host, or none; two that differ are two requests (RFC 9113 §8.3.1). */
function authorityOf(authority: string | undefined, host: string | undefined): string | undefined {
  if (authority === undefined || host === undefined) return authority ?? host;
  if (authority.toLowerCase() !== host.toLowerCase()) throw malformed('Host is not the authority');
  return authority;
}

function checkScheme(scheme: string, rules: ParseRules): void {
  if (scheme === rules.scheme) return;
  throw refusal('MISDIRECTED', 'the scheme of the request is not that of its connection');
}

function hasOuterBlank(value: string): boolean {
  return value !== value.trim();
}

function malformed(message: string): MoatError<GatewayErrorCode> {
  return refusal('REQUEST_MALFORMED', message);
}
