/**
 * parse: from the fields as they stood on the wire to one unambiguous request, or a refusal. Whatever two
 * servers could read in two ways is refused, not repaired (RFC 9112 §§3, 6, 11).
 * Pure; `http1-parser.ts` feeds it what `http1-head.ts` read, `http2-head.ts` the fields of a stream.
 */
import { METHODS } from 'node:http';
import { RecentOf, type FieldList, type MoatError } from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';
import { parseAuthority, type Authority } from '../names/host.ts';
import { isBlank, type RawHead } from './http1-head.ts';

export type HttpVersion = '1.0' | '1.1' | '2';

/** A head as its protocol's reader left it: every character is one that may stand where it stands. */
export interface ReceivedHead extends Omit<RawHead, 'version'> {
  readonly version: HttpVersion;
  /** HTTP/2 says with the head whether a body follows. */
  readonly endsHere?: boolean;
}

export interface ParsedHead {
  readonly method: string;
  /** Host (normalised) and port as the client asked for it. */
  readonly authority: string;
  /** Host of `authority`, normalised. */
  readonly host: string;
  /** Origin form, or `*`. */
  readonly target: string;
  readonly version: HttpVersion;
  /** In order, names in lower case, without Host and without names that have aliases. */
  readonly fields: FieldList;
  /** Lower case; present when the client asks to switch protocols and may. */
  readonly upgrade: string | undefined;
  readonly bodyless: boolean;
  /** Undefined = chunked, or no body. */
  readonly contentLength: number | undefined;
  readonly expectsContinue: boolean;
  /** The client sends no other request on this connection. */
  readonly wantsClose: boolean;
}

export interface ParseRules {
  /** Scheme of this listener. */
  readonly scheme: 'http' | 'https';
  /** Name of the TLS handshake, normalised: the one host nearly all requests of a connection are for. */
  readonly servername?: string;
  /** @defaultValue 128 */
  readonly maxFields?: number;
}

/** Those that Node knows, and so most services; the others would be answered by who knows whom. */
const KNOWN_METHODS: ReadonlySet<string> = new Set(METHODS);
/** Protocols that would let a client speak past the gateway to a server that understands them. */
const REFUSED_UPGRADES = /^(?:h2c?|http|tls)(?:\/|$)/;

/** @throws `REQUEST_MALFORMED` and the other codes of a request's head */
export function parseHead(raw: ReceivedHead, rules: ParseRules): ParsedHead {
  if (raw.method === 'CONNECT' || raw.method === 'TRACE') {
    throw refusal('METHOD_REFUSED', `${raw.method} is never forwarded`);
  }
  if (!KNOWN_METHODS.has(raw.method)) throw refusal('METHOD_UNKNOWN', 'no such method is known here');
  const section = sectionOf(raw.fields);
  const { seen, fields, connection } = section;
  const { bodyless, contentLength } = framing(seen, raw);
  const { host, port, authority } = authorityOf(section, rules);
  const target = targetOf(raw, host, port, rules);
  const upgrade = upgradeOf(seen, connection, raw, bodyless);
  return {
    method: raw.method,
    authority,
    host,
    target,
    version: raw.version,
    fields,
    upgrade,
    bodyless,
    contentLength,
    expectsContinue: expects(seen, raw.version),
    // Whether an older client understands more than one answer is not asked.
    wantsClose: raw.version === '1.0' || connection.includes('close'),
  };
}

/** Fields that decide where a request goes and where it ends; each may stand once, except Connection. */
interface Seen {
  host: string | undefined;
  length: string | undefined;
  coding: string | undefined;
  connection: string | undefined;
  upgrade: string | undefined;
  expect: string | undefined;
}

/** What is known of a list of fields alone. */
interface Section {
  readonly seen: Readonly<Seen>;
  /** Those that are passed on. */
  readonly fields: FieldList;
  /** Options of Connection, in lower case. */
  readonly connection: readonly string[];
  /** What Host says, once it was read. */
  asked: Asked | undefined;
}

interface Asked extends Authority {
  /** Host and port as one text. */
  readonly authority: string;
}

const sections = new RecentOf<FieldList, Section>();

function sectionOf(list: FieldList): Section {
  const known = sections.get(list);
  if (known !== undefined) return known;
  const fields: (readonly [string, string])[] = [];
  const seen: Seen = {
    host: undefined,
    length: undefined,
    coding: undefined,
    connection: undefined,
    upgrade: undefined,
    expect: undefined,
  };
  for (const field of list) {
    const [name, value] = field;
    // `content_length` and `content.length` become Content-Length in CGI-like services.
    if (name.includes('_') || name.includes('.')) continue;
    if (note(seen, name, value)) fields.push(field);
  }
  const section: Section = {
    seen,
    fields,
    connection: seen.connection === undefined ? [] : itemsOf(seen.connection),
    asked: undefined,
  };
  sections.keep(list, section);
  return section;
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
      seen.connection = seen.connection === undefined ? value : `${seen.connection},${value}`;
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

function framing(
  seen: Seen,
  { version, endsHere }: ReceivedHead,
): { bodyless: boolean; contentLength: number | undefined } {
  if (seen.coding !== undefined) {
    if (seen.length !== undefined) throw malformed('Content-Length and Transfer-Encoding stand together');
    if (version !== '1.1') throw malformed(`HTTP/${version} has no Transfer-Encoding`);
    const codings = itemsOf(seen.coding);
    // With `chunked` in the middle nobody knows where the body ends (RFC 9112 §6.3).
    if (codings.includes('') || codings.slice(0, -1).includes('chunked')) {
      throw malformed('the transfer codings are not in an order that ends');
    }
    if (codings.length > 1 || codings[0] !== 'chunked') {
      throw refusal('TRANSFER_CODING_UNSUPPORTED', 'only one final `chunked` is understood');
    }
    return { bodyless: false, contentLength: undefined };
  }
  if (seen.length === undefined) return { bodyless: endsHere ?? true, contentLength: undefined };
  if (!/^\d{1,15}$/.test(seen.length)) throw malformed('Content-Length is not one decimal number');
  const contentLength = Number(seen.length);
  if (endsHere === true && contentLength > 0) throw malformed('the request ends before its body does');
  return { bodyless: endsHere ?? contentLength === 0, contentLength };
}

/** Items of a list, in lower case. */
function itemsOf(list: string): string[] {
  return list.toLowerCase().split(',').map(withoutBlanks);
}

/** `trim` would take more for white space than HTTP does, and a regular expression the square of its length. */
function withoutBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return start === 0 && end === text.length ? text : text.slice(start, end);
}

function authorityOf(section: Section, rules: ParseRules): Asked {
  const { host } = section.seen;
  if (host === undefined) throw malformed('Host is missing');
  if (host === rules.servername) return { host, port: undefined, authority: host };
  return (section.asked ??= readHost(host));
}

function readHost(text: string): Asked {
  if (!/^[A-Za-z0-9._~!$&'()*+,;=%:[\]-]+$/.test(text)) throw malformed('Host is not an authority');
  const asked = parseAuthority(text);
  if (!asked) throw refusal('MISDIRECTED', 'no such name is served here');
  const { host, port } = asked;
  return { host, port, authority: port === undefined ? host : `${host}:${port}` };
}

function targetOf(raw: ReceivedHead, host: string, port: number | undefined, rules: ParseRules): string {
  const { target } = raw;
  if (target === '*') {
    if (raw.method !== 'OPTIONS') throw malformed('only OPTIONS may ask for *');
    return target;
  }
  if (target.startsWith('/')) return target;
  const absolute = /^(https?):\/\/([^/?]*)(.*)$/i.exec(target);
  if (!absolute) throw malformed('the target is neither a path nor a URL');
  const [, scheme = '', authority = '', rest = ''] = absolute;
  const named = parseAuthority(authority);
  // A URL for somebody else asks for a proxy, which this is not.
  if (scheme.toLowerCase() !== rules.scheme || named?.host !== host || named.port !== port) {
    throw refusal('MISDIRECTED', 'the URL of the request is not on the host it was sent to');
  }
  // Sent with no path at all, OPTIONS asks about the whole server (RFC 9112 §3.2.4).
  if (rest === '') return raw.method === 'OPTIONS' ? '*' : '/';
  return rest.startsWith('/') ? rest : `/${rest}`;
}

function upgradeOf(
  seen: Seen,
  connection: readonly string[],
  raw: ReceivedHead,
  bodyless: boolean,
): string | undefined {
  if (seen.upgrade === undefined) return undefined;
  const protocol = seen.upgrade.toLowerCase();
  if (!connection.includes('upgrade') || raw.version === '1.0' || raw.method !== 'GET') return undefined;
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
