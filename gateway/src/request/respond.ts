/**
 * respond: what a client may see of a service's answer, and the gateway's own answers. A service's head is
 * checked like a client's: a hostile member must not be able to write a second answer into the first.
 */
import { STATUS_CODES } from 'node:http';
import { RecentOf, isMoatError, type FieldList, type ResponseHead } from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';
import { endToEndFields, isWritable } from './fields.ts';
import { headText } from './http1-answer.ts';
import { abuseLine, type AbuseContact } from './abuse.ts';
import { escapeHtml, htmlPage } from './page.ts';
import type { ParsedHead } from './parse.ts';

export interface AnswerRules {
  /** The gateway's domain; cookies for all of it are narrowed to the host that sets them. */
  readonly domain: string;
}

/** A checked final answer. */
export interface CheckedAnswer {
  readonly status: number;
  readonly fields: FieldList;
  /** Bytes the body must have; undefined = until its end. */
  readonly contentLength: number | undefined;
  /** False for answers that have no body whatever their fields say. */
  readonly hasBody: boolean;
}

/** @throws `ANSWER_INVALID` */
export function checkAnswer(answer: ResponseHead, head: ParsedHead, rules: AnswerRules): CheckedAnswer {
  const { status } = answer;
  if (!Number.isInteger(status) || status < 101 || status > 599) throw invalid('the status is out of range');
  if (status === 101 && head.upgrade === undefined) throw invalid('the service switched protocols unasked');
  const section = sectionOf(answer.fields);
  const { length } = section;
  const hasBody = head.method !== 'HEAD' && status !== 204 && status !== 304 && status >= 200;
  const forbidden = status === 204 || status < 200;
  let { fields } = section;
  if (!section.isPlain || (forbidden && length !== undefined)) {
    // Only an answer without a length has trailers to announce.
    const chunked = hasBody && length === undefined && head.version !== '1.0';
    fields = fields
      .filter(([name]) => !(forbidden && name === 'content-length') && !(name === 'trailer' && !chunked))
      .map((field) => (field[0] === 'set-cookie' ? narrowed(field, head.host, rules.domain) : field));
  }
  return { status, fields, contentLength: hasBody ? length : undefined, hasBody };
}

/** What is known of the fields of an answer alone. */
interface Section {
  /** Those that pass a hop. */
  readonly fields: FieldList;
  /** What Content-Length says. */
  readonly length: number | undefined;
  /** They pass as they are, whatever was asked for. */
  readonly isPlain: boolean;
}

const sections = new RecentOf<FieldList, Section>();

/** @throws `ANSWER_INVALID` */
function sectionOf(list: FieldList): Section {
  const known = sections.get(list);
  if (known !== undefined) return known;
  let length: number | undefined;
  let isPlain = true;
  for (const field of list) {
    if (!isWritable(field)) throw invalid('a field of the answer is malformed');
    const [name, value] = field;
    if (name === 'set-cookie' || name === 'trailer') isPlain = false;
    if (name !== 'content-length') continue;
    if (length !== undefined || !/^\d{1,15}$/.test(value)) throw invalid('the length of the answer is ambiguous');
    length = Number(value);
  }
  const section = { fields: endToEndFields(list), length, isPlain };
  sections.keep(list, section);
  return section;
}

/** They would frame a body where none is (RFC 9110 §8.6), or set a cookie past {@link narrowed}. */
const NOT_INTERIM: ReadonlySet<string> = new Set(['content-length', 'trailer', 'set-cookie']);

/** What of an interim answer's fields a client may see. */
export function interimFields(fields: FieldList): FieldList {
  return endToEndFields(fields).filter(([name]) => !NOT_INTERIM.has(name));
}

/** Names under one domain belong to strangers: no cookie of one may reach another. */
function narrowed(field: readonly [string, string], host: string, domain: string): readonly [string, string] {
  if (!host.endsWith(`.${domain}`)) return field;
  const kept = field[1]
    .split(';')
    .filter((attribute, index) => {
      const [name = '', value = ''] = attribute.split('=', 2);
      if (index === 0 || name.trim().toLowerCase() !== 'domain') return true;
      const scope = value.trim().toLowerCase().replace(/^\./, '');
      return scope !== domain && !domain.endsWith(`.${scope}`);
    })
    .join(';');
  return [field[0], kept];
}

/** HTTP status of each code a client may be shown. */
const STATUS: Partial<Record<GatewayErrorCode, number>> = {
  REQUEST_MALFORMED: 400,
  AUTH_REQUIRED: 401,
  SIGN_IN_EXPIRED: 400,
  SIGN_IN_FAILED: 400,
  SIGN_IN_REFUSED: 403,
  CERTIFICATE_REQUIRED: 403,
  ADDRESS_REFUSED: 403,
  PATH_UNKNOWN: 404,
  NAME_NOT_PUBLISHED: 404,
  NAME_WITHDRAWN: 404,
  METHOD_REFUSED: 405,
  HEAD_TIMEOUT: 408,
  CLIENT_STALLED: 408,
  BODY_TOO_LARGE: 413,
  TARGET_TOO_LARGE: 414,
  EXPECTATION_FAILED: 417,
  MISDIRECTED: 421,
  RATE_LIMITED: 429,
  HEAD_TOO_LARGE: 431,
  METHOD_UNKNOWN: 501,
  TRANSFER_CODING_UNSUPPORTED: 501,
  MEMBER_REFUSED: 502,
  SERVICE_UNREACHABLE: 502,
  LINK_LOST: 502,
  ANSWER_INVALID: 502,
  NOT_PUBLIC: 503,
  NO_MEMBER_CONNECTED: 503,
  SECRET_UNREADABLE: 503,
  ISSUER_UNREACHABLE: 503,
  GATEWAY_BUSY: 503,
  NAME_BUSY: 503,
  NAME_CLOSED: 503,
  MEMBERS_RESTING: 503,
  DEPLOYMENT_BUSY: 503,
  GATEWAY_STOPPING: 503,
  ANSWER_TIMEOUT: 504,
  HTTP_VERSION_UNSUPPORTED: 505,
};

/** The same request may succeed later. */
const RETRYABLE: ReadonlySet<number> = new Set([408, 429, 502, 503, 504]);

/** An answer of the gateway itself, whole. */
export interface OwnAnswer {
  readonly status: number;
  readonly code: string;
  readonly fields: FieldList;
  readonly body: Buffer;
}

/**
 * The page for `error`: JSON where the client prefers it, HTML else; both carry the id that is in the log.
 * @param abuse for the page of a name that was suspended.
 */
export function errorAnswer(error: unknown, id: string, accept: string | undefined, abuse?: AbuseContact): OwnAnswer {
  const code = isMoatError(error) ? error.code : 'INTERNAL';
  const isSuspended = isMoatError(error, 'NAME_SUSPENDED');
  const status = isSuspended ? Number(error.details['status']) : (STATUS[code as GatewayErrorCode] ?? 500);
  // Whatever is not ours to say stays in the log.
  const message = status === 500 || !isMoatError(error) ? 'something failed inside the gateway' : error.message;
  const reason = STATUS_CODES[status] ?? '';
  const retryAfterMs = isMoatError(error) ? error.details['retryAfterMs'] : undefined;
  const retryAfter = status === 429 || status === 503 ? Math.ceil(Number(retryAfterMs ?? 5_000) / 1_000) : undefined;
  const json = prefersJson(accept);
  const body = json
    ? JSON.stringify({ error: { code, message, next: [], retryable: RETRYABLE.has(status) }, requestId: id })
    : page(`${status} ${reason}`, message, code, id, isSuspended ? abuseLine(abuse) : '');
  return ownAnswer(status, code, json ? 'application/json; charset=utf-8' : 'text/html; charset=utf-8', body, [
    ['x-request-id', id],
    ...(retryAfter === undefined ? [] : [['retry-after', String(Math.max(1, retryAfter))] as const]),
    ...(status === 401 ? [['www-authenticate', challenge(error)] as const] : []),
    ...(status === 451 ? [['link', `<https://${blockedBy(error)}/>; rel="blocked-by"`] as const] : []),
    ...(status === 405 ? [['allow', 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS'] as const] : []),
  ]);
}

/** RFC 7725 §4: who blocks, which need not be who asked for it. */
function blockedBy(error: unknown): string {
  const domain = isMoatError(error) ? error.details['domain'] : undefined;
  return typeof domain === 'string' ? domain : '';
}

/**
 * RFC 7617 §2.1; a realm is a host name, which needs no quoting. Ways in besides passwords have no scheme in a registry, and
 * a member that knows nobody asks for no password: a browser's dialog would lead nowhere.
 */
function challenge(error: unknown): string {
  const { realm, signIn } = isMoatError(error) ? error.details : {};
  if (typeof realm === 'string') return `Basic realm="${realm}", charset="UTF-8"`;
  return `Moat realm="${typeof signIn === 'string' ? signIn : ''}"`;
}

export function ownAnswer(status: number, code: string, type: string, text: string, more: FieldList = []): OwnAnswer {
  const body = Buffer.from(text);
  return {
    status,
    code,
    body,
    fields: [
      ['content-type', type],
      ['content-length', String(body.length)],
      ['cache-control', 'no-store'],
      ['x-content-type-options', 'nosniff'],
      ['content-security-policy', "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"],
      ...more,
    ],
  };
}

/** Sends a client elsewhere. */
export function redirectAnswer(status: number, location: string): OwnAnswer {
  const link = escapeHtml(location);
  const body = htmlPage(`${status} ${STATUS_CODES[status] ?? ''}`, `<p><a href="${link}">${link}</a></p>`);
  return ownAnswer(status, 'REDIRECT', 'text/html; charset=utf-8', body, [['location', location]]);
}

/** The whole answer as bytes, for connections whose request could not be read. */
export function rawAnswer({ status, fields, body }: OwnAnswer): Buffer {
  return Buffer.concat([
    Buffer.from(headText(status, fields, { method: '', version: '1.1', closes: true }).text, 'latin1'),
    body,
  ]);
}

/** True when `application/json` is asked for and not less than HTML. */
export function prefersJson(accept: string | undefined): boolean {
  if (accept === undefined) return false;
  let json = 0;
  let html = 0;
  for (const range of accept.toLowerCase().split(',')) {
    const [type = '', ...parameters] = range.split(';').map((part) => part.trim());
    const quality = Number(parameters.find((parameter) => parameter.startsWith('q='))?.slice(2) ?? 1);
    if (type === 'application/json' || type.endsWith('+json')) json = Math.max(json, quality);
    if (type === 'text/html' || type === 'application/xhtml+xml') html = Math.max(html, quality);
  }
  return json > 0 && json >= html;
}

function page(title: string, message: string, code: string, id: string, more: string): string {
  return htmlPage(
    title,
    `<p>${escapeHtml(message[0]?.toUpperCase() ?? '')}${escapeHtml(message.slice(1))}.</p>
${more}<p><code>${escapeHtml(code)}</code> · request <code>${escapeHtml(id)}</code></p>`,
  );
}

function invalid(message: string): Error {
  return refusal('ANSWER_INVALID', message);
}
