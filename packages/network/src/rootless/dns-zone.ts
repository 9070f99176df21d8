/**
 * What the agent's DNS says about `.internal`: an address for each service this machine listens for, NODATA for
 * another type, NXDOMAIN for every other name below `.internal` (RFC 1034 §4.3, RFC 2308). Pure.
 */
import type { Answer, Question, SoaAnswer } from 'dns-packet';
import { hostNameOf, type NamedService } from './names.ts';

/** Seconds a program may keep an answer, positive or negative: grants come and go. */
export const TTL_SECONDS = 5;

const ROOT = 'internal';

export interface ZoneAnswer {
  readonly rcode: 'NOERROR' | 'NXDOMAIN';
  readonly answers: readonly Answer[];
  readonly authorities: readonly Answer[];
  readonly additionals: readonly Answer[];
}

/** Undefined for a name that is not below `.internal`: somebody else's. Of two services of one name the first answers. */
export function zoneAnswer({ name, type }: Question, services: Iterable<NamedService>): ZoneAnswer | undefined {
  const wanted = name.toLowerCase().replace(/\.$/, '');
  if (wanted !== ROOT && !wanted.endsWith(`.${ROOT}`)) return undefined;
  const asked: string = type;
  let isAbove = wanted === ROOT;
  for (const service of services) {
    const host = hostNameOf(service.name, service.network);
    const all = [service.address, ...(service.alsoAt ?? [])];
    const answersAs = (owner: string): Answer[] =>
      all.map((data) => ({ name: owner, type: 'A', ttl: TTL_SECONDS, data }));
    // The name as it was asked: resolvers that vary its case compare it letter by letter.
    if (wanted === host) return asked === 'A' || asked === 'ANY' ? found(answersAs(name)) : negative('NOERROR');
    // RFC 2782: where the system refused the service's own port, the one in use is learned here.
    if (wanted === `_${service.name}._tcp.${service.network}.${ROOT}`) {
      if (asked !== 'SRV' && asked !== 'ANY') return negative('NOERROR');
      const data = { priority: 0, weight: 0, port: service.port, target: host };
      return found([{ name, type: 'SRV', ttl: TTL_SECONDS, data }], answersAs(host));
    }
    isAbove ||= host.endsWith(`.${wanted}`) || wanted === `_tcp.${service.network}.${ROOT}`;
  }
  return negative(isAbove ? 'NOERROR' : 'NXDOMAIN');
}

function found(answers: readonly Answer[], additionals: readonly Answer[] = []): ZoneAnswer {
  return { rcode: 'NOERROR', answers, authorities: [], additionals };
}

function negative(rcode: ZoneAnswer['rcode']): ZoneAnswer {
  return { rcode, answers: [], authorities: [SOA], additionals: [] };
}

const SOA: SoaAnswer = {
  name: ROOT,
  type: 'SOA',
  ttl: TTL_SECONDS,
  data: {
    mname: `moat.${ROOT}`,
    rname: `moat.${ROOT}`,
    serial: 1,
    refresh: 3600,
    retry: 600,
    expire: 86_400,
    minimum: TTL_SECONDS,
  },
};
