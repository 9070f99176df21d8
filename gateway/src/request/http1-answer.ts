/** Heads of answers as HTTP/1.1 writes them. Fields were checked before (`respond.ts`); framing is decided here. */
import { STATUS_CODES } from 'node:http';
import { RecentOf, type FieldList } from '@moat/core';
import type { ParsedHead } from './parse.ts';

/** What of the request its answer's framing depends on. */
export interface AnsweredRequest {
  readonly method: string;
  readonly version: ParsedHead['version'];
  /** The connection ends after this answer. */
  readonly closes: boolean;
}

export interface AnswerHead {
  /** With its empty line. */
  readonly text: string;
  readonly chunked: boolean;
  /** Bytes the body has; undefined = not announced. */
  readonly contentLength: number | undefined;
  /** The connection ends after this answer, by wish or because nothing else ends the body. */
  readonly closes: boolean;
}

/** What was written for one list of fields, and for which request. */
interface Written extends AnsweredRequest {
  readonly status: number;
  /** Of ours in it; an older one is not said again. */
  readonly date: string | undefined;
  readonly head: AnswerHead;
}

const lately = new RecentOf<FieldList, { written: Written }>();

/** A final head, or 101. `fields` are end-to-end fields in lower case. */
export function headText(status: number, fields: FieldList, request: AnsweredRequest): AnswerHead {
  const { method, version, closes } = request;
  const known = lately.get(fields);
  if (known !== undefined) {
    const { written } = known;
    const isSame =
      written.status === status &&
      written.method === method &&
      written.version === version &&
      written.closes === closes &&
      (written.date === undefined || written.date === dateNow());
    if (isSame) return written.head;
  }
  const date = fields.some(([name]) => name === 'date') ? undefined : dateNow();
  const written = { status, method, version, closes, date, head: writeHead(status, fields, request, date) };
  if (known === undefined) lately.keep(fields, { written });
  else known.written = written;
  return written.head;
}

/** @param date in the stead of the sender's */
function writeHead(status: number, fields: FieldList, request: AnsweredRequest, date: string | undefined): AnswerHead {
  let text = statusLine(status) + fieldLines(fields);
  if (status === 101) return { text: `${text}\r\n`, chunked: false, contentLength: undefined, closes: true };
  // Who passes an answer on says when it came, where its sender did not (RFC 9110 §6.6.1).
  if (date !== undefined) text += `Date: ${date}\r\n`;
  const length = fields.find(([name]) => name === 'content-length')?.[1];
  const hasBody = request.method !== 'HEAD' && status !== 204 && status !== 304;
  const chunked = hasBody && length === undefined && request.version === '1.1';
  const closes = request.closes || (hasBody && length === undefined && !chunked);
  if (chunked) text += 'Transfer-Encoding: chunked\r\n';
  if (closes) text += 'Connection: close\r\n';
  const contentLength = hasBody && length !== undefined ? Number(length) : undefined;
  return { text: `${text}\r\n`, chunked, contentLength, closes };
}

/** 100, 102 or 103. */
export function interimText(status: number, fields: FieldList): string {
  return `${statusLine(status)}${fieldLines(fields)}\r\n`;
}

/** Field lines without an end. */
export function fieldLines(fields: FieldList): string {
  let text = '';
  for (const [name, value] of fields) text += `${name}: ${value}\r\n`;
  return text;
}

function statusLine(status: number): string {
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n`;
}

let date = '';
let dateSecond = 0;

/** IMF-fixdate of now, made once a second. */
function dateNow(): string {
  const now = Date.now();
  const second = Math.floor(now / 1_000);
  if (second !== dateSecond) {
    dateSecond = second;
    date = new Date(now).toUTCString();
  }
  return date;
}
