/**
 * One DNS message in, one out, or none (RFC 1034 §4.3.2, RFC 1035 §4.1, RFC 6891). Authoritative only: it never asks
 * anybody, and refuses what lies in no zone of its own.
 */
import { AUTHORITATIVE_ANSWER, encode, type Answer } from 'dns-packet';
import { HEADER_BYTES, readQuery, type Query } from './query.ts';
import { TYPE, answerFrom, type ZoneView } from './zone.ts';

export type Transport = 'udp' | 'tcp';

const RCODE = { NOERROR: 0, FORMERR: 1, NXDOMAIN: 3, REFUSED: 5 } as const;
/** RFC 6891 §6.1.3; its low four bits are 0. */
const BADVERS_EXTENDED = 1;
const CLASS_IN = 1;
const CLASS_ANY = 255;
const TYPE_OPT = 41;
/** TKEY, TSIG, IXFR, AXFR, MAILB, MAILA: questions of other kinds; no transfer is given. */
const FIRST_META = 249;
const LAST_META = 254;
const RECURSION_DESIRED_BIT = 0x01;
const TRUNCATED_BIT = 0x02;

/** Without EDNS (RFC 1035 §4.2.1). */
const PLAIN_UDP_BYTES = 512;
/** What passes everywhere in one packet, whatever the resolver says it takes (DNS flag day 2020). */
const MAX_UDP_BYTES = 1_232;

/**
 * The answer to `message`; undefined = say nothing. Never throws.
 * @param forceTc answer only that the question be asked over TCP
 */
export function respond(
  zone: ZoneView,
  message: Buffer,
  transport: Transport,
  forceTc: boolean = false,
): Buffer | undefined {
  const reading = readQuery(message);
  if (reading.kind === 'silent') return undefined;
  if (reading.kind === 'error') {
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt16BE(reading.id, 0);
    header.writeUInt16BE(0x8000 | (reading.opcode << 11) | reading.rcode, 2);
    return header;
  }
  const { query } = reading;
  const whole = build(query, judge(zone, query));
  if (transport === 'tcp') return whole;
  const limit =
    query.edns === undefined
      ? PLAIN_UDP_BYTES
      : Math.max(PLAIN_UDP_BYTES, Math.min(query.edns.payloadBytes, MAX_UDP_BYTES));
  if (!forceTc && whole.length <= limit) return whole;
  // RFC 2181 §9: a part of the answer is of no use to anybody.
  const cut = build(query, { rcode: RCODE.NOERROR, authoritative: true });
  cut.writeUInt8(cut.readUInt8(2) | TRUNCATED_BIT, 2);
  return cut;
}

interface Verdict {
  readonly rcode: number;
  /** Upper bits of the code, which stand in OPT. */
  readonly extended?: number;
  readonly authoritative?: boolean;
  readonly answers?: readonly Answer[];
  readonly authorities?: readonly Answer[];
}

function judge(zone: ZoneView, query: Query): Verdict {
  const { name, spelling, type } = query;
  if (query.edns !== undefined && query.edns.version > 0) return { rcode: 0, extended: BADVERS_EXTENDED };
  if (type === TYPE_OPT) return { rcode: RCODE.FORMERR };
  const isOurs = query.class === CLASS_IN || query.class === CLASS_ANY;
  if (!isOurs || (type >= FIRST_META && type <= LAST_META)) return { rcode: RCODE.REFUSED };
  if (name === undefined) return oddName(zone, spelling);
  const found = answerFrom(zone, name, spelling, type);
  if (found === undefined) return { rcode: RCODE.REFUSED };
  const { rcode, answers, authorities } = found;
  return { rcode: RCODE[rcode], authoritative: true, answers, authorities };
}

/** A name with bytes that none of ours has: absent where it lies in the zone. */
function oddName(zone: ZoneView, spelling: string): Verdict {
  if (!spelling.toLowerCase().endsWith(`.${zone.domain}`)) return { rcode: RCODE.REFUSED };
  const absent = answerFrom(zone, `_.${zone.domain}`, '', TYPE.TXT);
  return { rcode: RCODE.NXDOMAIN, authoritative: true, authorities: absent?.authorities ?? [] };
}

/** Names are never compressed, so the question can be put in as it came. */
function build(query: Query, verdict: Verdict): Buffer {
  const opt = {
    name: '.',
    type: 'OPT',
    udpPayloadSize: MAX_UDP_BYTES,
    extendedRcode: verdict.extended ?? 0,
    ednsVersion: 0,
    flags: query.edns?.dnssecOk === true ? 0x8000 : 0,
    options: [],
  } as unknown as Answer;
  const bytes = encode({
    type: 'response',
    id: query.id,
    flags: (verdict.authoritative === true ? AUTHORITATIVE_ANSWER : 0) | verdict.rcode,
    answers: [...(verdict.answers ?? [])],
    authorities: [...(verdict.authorities ?? [])],
    additionals: query.edns === undefined ? [] : [opt],
  });
  const answer = Buffer.concat([bytes.subarray(0, HEADER_BYTES), query.question, bytes.subarray(HEADER_BYTES)]);
  answer.writeUInt16BE(1, 4);
  if (query.rd) answer.writeUInt8(answer.readUInt8(2) | RECURSION_DESIRED_BIT, 2);
  return answer;
}
