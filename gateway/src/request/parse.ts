/**
 * parse: from the fields as they stood on the wire to one unambiguous request, or a refusal. Whatever two
 * servers could read in two ways is refused, not repaired (RFC 9112 §§3, 6, 11).
 * Pure; `node-http.ts` feeds it.
 */
import type { FieldList } from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';
import { parseAuthority } from '../names/host.ts';
import type { MoatError } from '@moat/core';

/** A request's head as received. */
export interface RawHead {
  readonly method: string;
  readonly target: string;
  readonly version: string;
  /** Names and values by turns, as on the wire. */
  readonly rawFields: readonly string[];
}

export interface ParsedHead {
  readonly method: string;
  /** Host (normalised) and port as the client asked for it. */
  readonly authority: string;
  /** Host of `authority`, normalised. */
  readonly host: string;
  /** Origin form, or `*`. */
  readonly target: string;
  readonly version: '1.0' | '1.1';
  /** In order, names in lower case, without Host and without names that have aliases. */
  readonly fields: FieldList;
  /** Lower case; present when the client asks to switch protocols and may. */
  readonly upgrade: string | undefined;
  readonly bodyless: boolean;
  /** Undefined = chunked, or no body. */
  readonly contentLength: number | undefined;
  readonly expectsContinue: boolean;
}

export interface ParseRules {
  /** Scheme of this listener. */
  readonly scheme: 'http' | 'https';
  /** @defaultValue 128 */
  readonly maxFields?: number;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Control characters other than tab (RFC 9110 §5.5). */
const BAD_VALUE = /[\0-\x08\x0a-\x1f\x7f]/;
/** What no origin-form target contains. */
const BAD_TARGET = /[^\x21-\x22\x24-\x7e]/;
const DEFAULT_MAX_FIELDS = 128;
/** Protocols that would let a client speak past the gateway to a server that understands them. */
const REFUSED_UPGRADES = /^(?:h2c?|http|tls)(?:\/|$)/;

/** @throws `REQUEST_MALFORMED` and the other codes of a request's head */
export function parseHead(raw: RawHead, rules: ParseRules): ParsedHead {
  if (raw.version !== '1.1' && raw.version !== '1.0') {
    throw refusal('HTTP_VERSION_UNSUPPORTED', 'this gateway speaks HTTP/1.1');
  }
  if (!TOKEN.test(raw.method)) throw malformed('the method is not a token');
  if (raw.method === 'CONNECT' || raw.method === 'TRACE') {
    throw refusal('METHOD_REFUSED', `${raw.method} is never forwarded`);
  }
  const { rawFields } = raw;
  if (rawFields.length > (rules.maxFields ?? DEFAULT_MAX_FIELDS) * 2) {
    throw refusal('HEAD_TOO_LARGE', 'the request has too many fields');
  }
  const fields: (readonly [string, string])[] = [];
  const seen: Seen = {
    host: undefined,
    length: undefined,
    coding: undefined,
    connection: '',
    upgrade: undefined,
    expect: undefined,
  };
  for (let i = 0; i < rawFields.length; i += 2) {
    const name = (rawFields[i] ?? '').toLowerCase();
    const value = rawFields[i + 1] ?? '';
    if (!TOKEN.test(name)) throw malformed('a field name is not a token');
    if (BAD_VALUE.test(value)) throw malformed(`the value of ${name} has control characters`);
    // `content_length` and `content.length` become Content-Length in CGI-like services.
    if (name.includes('_') || name.includes('.')) continue;
    if (note(seen, name, value)) fields.push([name, value]);
  }
  const { bodyless, contentLength } = framing(seen, raw.version);
  const authority = authorityOf(seen);
  const target = targetOf(raw, authority.host, authority.port, rules);
  const upgrade = upgradeOf(seen, raw, bodyless);
  return {
    method: raw.method,
    authority: authority.port === undefined ? authority.host : `${authority.host}:${authority.port}`,
    host: authority.host,
    target,
    version: raw.version,
    fields,
    upgrade,
    bodyless,
    contentLength,
    expectsContinue: expects(seen, raw.version),
  };
}

/** Fields that decide where a request goes and where it ends; each may stand once, except Connection. */
interface Seen {
  host: string | undefined;
  length: string | undefined;
  coding: string | undefined;
  connection: string;
  upgrade: string | undefined;
  expect: string | undefined;
}

/** Remembers what decides; false = the field is not passed on as it is. */
function note(seen: Seen, name: string, value: string): boolean {
  switch (name) {
    case 'host':
      if (seen.host !== undefined) throw malformed('Host stands twice');
      seen.host = value;
      return false;
    case 'content-length':
      if (seen.length !== undefined) throw malformed('Content-Length stands twice');
      seen.length = value;
      return true;
    case 'transfer-encoding':
      if (seen.coding !== undefined) throw malformed('Transfer-Encoding stands twice');
      seen.coding = value;
      return false;
    case 'connection':
      seen.connection += `,${value}`;
      return true;
    case 'upgrade':
      seen.upgrade = seen.upgrade === undefined ? value : `${seen.upgrade},${value}`;
      return false;
    case 'expect':
      seen.expect = seen.expect === undefined ? value : `${seen.expect},${value}`;
      return false;
    default:
      return true;
  }
}

function framing(seen: Seen, version: string): { bodyless: boolean; contentLength: number | undefined } {
  if (seen.coding !== undefined) {
    if (seen.length !== undefined) throw malformed('Content-Length and Transfer-Encoding stand together');
    if (version === '1.0') throw malformed('HTTP/1.0 has no Transfer-Encoding');
    if (seen.coding.toLowerCase() !== 'chunked') {
      throw refusal('TRANSFER_CODING_UNSUPPORTED', 'only one final `chunked` is understood');
    }
    return { bodyless: false, contentLength: undefined };
  }
  if (seen.length === undefined) return { bodyless: true, contentLength: undefined };
  if (!/^\d{1,15}$/.test(seen.length)) throw malformed('Content-Length is not one decimal number');
  const contentLength = Number(seen.length);
  return { bodyless: contentLength === 0, contentLength };
}

function authorityOf(seen: Seen): { host: string; port: number | undefined } {
  if (seen.host === undefined) throw malformed('Host is missing');
  if (!/^[A-Za-z0-9._~!$&'()*+,;=%:[\]-]+$/.test(seen.host)) throw malformed('Host is not an authority');
  const authority = parseAuthority(seen.host);
  if (!authority) throw refusal('MISDIRECTED', 'no such name is served here');
  return authority;
}

function targetOf(raw: RawHead, host: string, port: number | undefined, rules: ParseRules): string {
  const { target } = raw;
  if (target === '*') {
    if (raw.method !== 'OPTIONS') throw malformed('only OPTIONS may ask for *');
    return target;
  }
  if (BAD_TARGET.test(target)) throw malformed('the target has characters no target has');
  if (target.startsWith('/')) return target;
  const absolute = /^(https?):\/\/([^/?]*)(.*)$/i.exec(target);
  if (!absolute) throw malformed('the target is neither a path nor a URL');
  const [, scheme = '', authority = '', rest = ''] = absolute;
  const named = parseAuthority(authority);
  // A URL for somebody else asks for a proxy, which this is not.
  if (scheme.toLowerCase() !== rules.scheme || named?.host !== host || named.port !== port) {
    throw refusal('MISDIRECTED', 'the URL of the request is not on the host it was sent to');
  }
  return rest.startsWith('/') ? rest : `/${rest}`;
}

function upgradeOf(seen: Seen, raw: RawHead, bodyless: boolean): string | undefined {
  if (seen.upgrade === undefined) return undefined;
  const protocol = seen.upgrade.trim().toLowerCase();
  const asked = seen.connection
    .toLowerCase()
    .split(',')
    .some((option) => option.trim() === 'upgrade');
  if (!asked || raw.version !== '1.1' || raw.method !== 'GET') return undefined;
  // Offers we do not take are ignored (RFC 9110 §7.8).
  if (!/^[a-z0-9!#$%&'*+\-.^_`|~/]+$/.test(protocol) || REFUSED_UPGRADES.test(protocol)) return undefined;
  if (!bodyless) throw malformed('a request to switch protocols has a body');
  return protocol;
}

function expects(seen: Seen, version: string): boolean {
  if (seen.expect === undefined || version === '1.0') return false;
  if (seen.expect.toLowerCase() !== '100-continue') {
    throw refusal('EXPECTATION_FAILED', 'only `Expect: 100-continue` is understood');
  }
  return true;
}

function malformed(message: string): MoatError<GatewayErrorCode> {
  return refusal('REQUEST_MALFORMED', message);
}
