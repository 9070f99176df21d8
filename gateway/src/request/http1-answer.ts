/** Heads of answers as HTTP/1.1 writes them. Fields were checked before (`respond.ts`); framing is decided here. */
import { STATUS_CODES } from 'node:http';
import type { FieldList } from '@moat/core';

/** What of the request its answer's framing depends on. */
export interface AnsweredRequest {
  readonly method: string;
  readonly version: '1.0' | '1.1';
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

/** A final head, or 101. `fields` are end-to-end fields in lower case. */
export function headText(status: number, fields: FieldList, request: AnsweredRequest): AnswerHead {
  let text = statusLine(status);
  let length: string | undefined;
  let hasDate = false;
  for (const [name, value] of fields) {
    text += `${name}: ${value}\r\n`;
    if (name === 'content-length') length = value;
    else if (name === 'date') hasDate = true;
  }
  if (status === 101) return { text: `${text}\r\n`, chunked: false, contentLength: undefined, closes: true };
  // Who passes an answer on says when it came, where its sender did not (RFC 9110 §6.6.1).
  if (!hasDate) text += `Date: ${dateNow()}\r\n`;
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
