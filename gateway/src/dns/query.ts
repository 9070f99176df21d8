/**
 * One DNS query, read strictly (RFC 1035 §4.1, RFC 6891 §6.1): a header, one question without compression, at most a
 * few additional records of which one may be OPT, and nothing behind them.
 */

/** What was asked. */
export interface Query {
  readonly id: number;
  /** Recursion desired; copied into the answer (RFC 1035 §4.1.1). */
  readonly rd: boolean;
  /** The question as it came, for the answer: its case is part of what a resolver compares. */
  readonly question: Buffer;
  /** Lower case, without the final dot; undefined where a label has bytes that no name here has. */
  readonly name: string | undefined;
  /** The same as it was asked. */
  readonly spelling: string;
  readonly type: number;
  readonly class: number;
  /** Undefined without EDNS. */
  readonly edns: { readonly version: number; readonly payloadBytes: number; readonly dnssecOk: boolean } | undefined;
}

/** `silent`: no answer at all. `error`: an answer that is a header with this code, and the question where it could be read. */
export type QueryReading =
  | { readonly kind: 'query'; readonly query: Query }
  | { readonly kind: 'error'; readonly id: number; readonly opcode: number; readonly rcode: number }
  | { readonly kind: 'silent' };

export const HEADER_BYTES = 12;
const FORMERR = 1;
const NOTIMP = 4;
const OPT = 41;
const MAX_NAME_BYTES = 255;
/** EDNS, a signature, and then some. */
const MAX_ADDITIONALS = 4;

/** Never throws, whatever `message` is. */
export function readQuery(message: Buffer): QueryReading {
  // An answer to an answer would go round in circles.
  if (message.length < HEADER_BYTES || (message.readUInt8(2) & 0x80) !== 0) return { kind: 'silent' };
  const id = message.readUInt16BE(0);
  const opcode = (message.readUInt8(2) >> 3) & 0x0f;
  const error = (rcode: number): QueryReading => ({ kind: 'error', id, opcode, rcode });
  if (opcode !== 0) return error(NOTIMP);
  const additionals = message.readUInt16BE(10);
  const isOneQuestion = message.readUInt16BE(4) === 1;
  if (!isOneQuestion || message.readUInt32BE(6) !== 0 || additionals > MAX_ADDITIONALS) return error(FORMERR);
  const name = readName(message, HEADER_BYTES);
  if (name === undefined || name.end + 4 > message.length) return error(FORMERR);
  const end = name.end + 4;
  const rest = readAdditionals(message, end, additionals);
  if (rest === undefined) return error(FORMERR);
  return {
    kind: 'query',
    query: {
      id,
      rd: (message.readUInt8(2) & 0x01) !== 0,
      question: message.subarray(HEADER_BYTES, end),
      name: name.plain ? name.text.toLowerCase() : undefined,
      spelling: name.text,
      type: message.readUInt16BE(name.end),
      class: message.readUInt16BE(name.end + 2),
      edns: rest.edns,
    },
  };
}

interface Name {
  readonly text: string;
  /** Only letters, digits, `-`, `_` and `*`. */
  readonly plain: boolean;
  readonly end: number;
}

/** Undefined for a name that is cut off, too long, or compressed: nothing stands in front of a question to point to. */
function readName(message: Buffer, from: number): Name | undefined {
  const labels: string[] = [];
  let plain = true;
  for (let at = from; at < message.length;) {
    const length = message.readUInt8(at);
    at += 1;
    if (length === 0) return { text: labels.join('.'), plain, end: at };
    if (length > 63 || at + length > message.length || at + length - from >= MAX_NAME_BYTES) return undefined;
    const label = message.toString('latin1', at, at + length);
    plain &&= /^[\w*-]+$/.test(label);
    labels.push(label);
    at += length;
  }
  return undefined;
}

/** Undefined when they are not what the header says, or something stands behind them. */
function readAdditionals(message: Buffer, from: number, count: number): { edns: Query['edns'] } | undefined {
  let edns: Query['edns'];
  let at = from;
  for (let i = 0; i < count; i++) {
    const name = readName(message, at);
    if (name === undefined || name.end + 10 > message.length) return undefined;
    const fixed = name.end;
    const next = fixed + 10 + message.readUInt16BE(fixed + 8);
    if (next > message.length) return undefined;
    if (message.readUInt16BE(fixed) === OPT) {
      // RFC 6891 §6.1.1: one, at the root.
      if (edns !== undefined || name.text !== '') return undefined;
      edns = {
        version: message.readUInt8(fixed + 5),
        payloadBytes: message.readUInt16BE(fixed + 2),
        dnssecOk: (message.readUInt8(fixed + 6) & 0x80) !== 0,
      };
    }
    at = next;
  }
  return at === message.length ? { edns } : undefined;
}
