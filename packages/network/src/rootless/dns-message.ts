/**
 * One DNS message in, what to do with it out (RFC 1035 §4.1). dns-packet reads and writes; what it cannot read, or
 * what is no single question, is answered by an error without a look at the rest.
 */
import {
  AUTHORITATIVE_ANSWER,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  decode,
  encode,
  type Answer,
  type DecodedPacket,
  type Packet,
  type Question,
} from 'dns-packet';
import type { NamedService } from './names.ts';
import { zoneAnswer } from './dns-zone.ts';

/** RFC 1035 §4.1.1; dns-packet writes it with the flags. */
const RCODE = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const;
/** What goes into one UDP packet with EDNS (DNS flag day 2020). */
const UDP_PAYLOAD_BYTES = 1232;
const HEADER_BYTES = 12;
const RESPONSE_BIT = 0x80;
const OPCODE_BITS = 0x78;
const TRUNCATED_BIT = 0x02;
/** EDNS and a signature; more belong to no question. */
const MAX_ADDITIONALS = 4;

/** `answer` is a whole message; `foreign` is for another server, with what to say when there is none. */
export type Reading =
  | { readonly kind: 'answer'; readonly answer: Buffer }
  | { readonly kind: 'foreign'; readonly failure: (rcode: 'SERVFAIL' | 'REFUSED') => Buffer }
  | { readonly kind: 'nothing' };

/** Never throws, whatever `message` is. */
export function readDnsMessage(message: Buffer, services: (asked: string) => Iterable<NamedService>): Reading {
  // An answer to an answer would go round in circles.
  if (message.length < HEADER_BYTES || ((message[2] as number) & RESPONSE_BIT) !== 0) return { kind: 'nothing' };
  if (((message[2] as number) & OPCODE_BITS) !== 0) return { kind: 'answer', answer: failure(message, RCODE.NOTIMP) };
  const query = isQuestion(message) ? tryDecode(message) : undefined;
  const [question] = query?.questions ?? [];
  if (query === undefined || question === undefined) {
    return { kind: 'answer', answer: failure(message, RCODE.FORMERR) };
  }
  const inInternet = question.class === 'IN' || question.class === 'ANY';
  const found = inInternet ? zoneAnswer(question, services(question.name)) : undefined;
  if (found === undefined) {
    return { kind: 'foreign', failure: (rcode) => response(query, question, RCODE[rcode], {}) };
  }
  const { rcode, answers, authorities, additionals } = found;
  return {
    kind: 'answer',
    answer: response(query, question, RCODE[rcode] | AUTHORITATIVE_ANSWER, {
      answers: [...answers],
      authorities: [...authorities],
      additionals: [...additionals],
    }),
  };
}

/** The same message, cut to its question and marked as cut: the program asks again over TCP. */
export function truncated(answer: Buffer, maxBytes: number = UDP_PAYLOAD_BYTES): Buffer {
  if (answer.length <= maxBytes) return answer;
  const cut = failure(answer, (answer[3] as number) & 0x0f);
  cut[2] = (cut[2] as number) | TRUNCATED_BIT;
  return cut;
}

/** True when `answer` answers exactly this `query`: same id, same question. */
export function answersTo(query: Buffer, answer: Buffer): boolean {
  if (answer.length < HEADER_BYTES || ((answer[2] as number) & RESPONSE_BIT) === 0) return false;
  if (answer.readUInt16BE(0) !== query.readUInt16BE(0)) return false;
  const end = questionEnd(query);
  return (
    end !== undefined &&
    answer.subarray(HEADER_BYTES, end).toString('latin1').toLowerCase() ===
      query.subarray(HEADER_BYTES, end).toString('latin1').toLowerCase()
  );
}

/** One question, no answers, a name that can be written back as it came: dns-packet reads UTF-8 and does not escape dots. */
function isQuestion(message: Buffer): boolean {
  if (message.readUInt16BE(4) !== 1 || message.readUInt32BE(6) !== 0 || message.readUInt16BE(10) > MAX_ADDITIONALS)
    return false;
  return questionEnd(message) !== undefined;
}

/** Where the first question of a message ends; undefined when it is cut or its name is no plain one. */
function questionEnd(message: Buffer): number | undefined {
  let at = HEADER_BYTES;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return undefined;
    if (length === 0) return at + 5 <= message.length ? at + 5 : undefined;
    if (!/^[\x21-\x2d\x2f-\x7e]+$/.test(message.toString('latin1', at + 1, at + 1 + length))) return undefined;
    at += 1 + length;
  }
}

function tryDecode(message: Buffer): DecodedPacket | undefined {
  try {
    return decode(message);
  } catch {
    return undefined;
  }
}

function response(query: DecodedPacket, question: Question, flags: number, sections: Packet): Buffer {
  const edns = query.additionals?.some(({ type }) => type === 'OPT') === true;
  const opt = { type: 'OPT', name: '.', udpPayloadSize: UDP_PAYLOAD_BYTES, flags: 0, options: [] };
  return encode({
    ...sections,
    id: query.id ?? 0,
    type: 'response',
    flags: flags | RECURSION_AVAILABLE | ((query.flags ?? 0) & RECURSION_DESIRED),
    questions: [question],
    additionals: [...(sections.additionals ?? []), ...(edns ? [opt as unknown as Answer] : [])],
  });
}

/** A header alone, made from the bytes: for what could not be read. */
function failure(message: Buffer, rcode: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  message.copy(header, 0, 0, 2);
  header[2] = RESPONSE_BIT | ((message[2] as number) & 0x79);
  header[3] = 0x80 | rcode;
  return header;
}
