/**
 * Why FROM reaches the service TO, or why not: what the contract says, then what this machine knows of consent, places
 * and the service itself, then the path. A machine that is FROM tries it; one that offers TO looks at its own side.
 */
import { MoatError, errorCode, isMoatError } from '@moat/core';
import { didYouMean, may, resolveMembers, tagOf, type Place, type Service } from '@moat/contract';
import type { Explanation } from '@moat/admin-api';
import { IGNORE } from '../api/probe.ts';
import { deadline } from '../deadline.ts';
import type { Deployment } from '../deployments/deployment.ts';
import { datagramsTo } from './datagrams.ts';
import type { ExplainDeps, Finding } from './finding.ts';
import { explainGateway } from './gateway.ts';
import { ownSide, staleHere } from './own-side.ts';
import { explainPath } from './path.ts';
import { vacancyOf } from './vacancy.ts';

/** How long the machine that asks tries, in milliseconds. */
const TRY_MS = 6_000;
const GATEWAY_PREFIX = 'gateway:';

/**
 * `from` is a member, a service or tag (its first machine, or this one where it is among them), `gateway:<domain>`, or
 * `public` (the first gateway that publishes it).
 * @throws `MEMBER_UNKNOWN`, `SERVICE_UNKNOWN`, `PUBLICATION_UNKNOWN` with a likely name, or the signal's reason
 */
export async function explain(
  deps: ExplainDeps,
  deployment: Deployment,
  from: string,
  to: string,
  signal: AbortSignal,
): Promise<Explanation> {
  if (from === 'public' || from.startsWith(GATEWAY_PREFIX)) {
    const domain = from === 'public' ? undefined : from.slice(GATEWAY_PREFIX.length);
    return explainGateway(deps, deployment, domain, to, signal);
  }
  const member = memberMeant(deployment, deps.self, from);
  const service = serviceMeant(deployment, to);
  const isHere = deployment.place?.name === member;
  const found =
    deniedByContract(deployment, member, to, deps.clock.now()) ??
    (await (isHere ? tried(deps, deployment, service, signal) : seenFrom(deps, deployment, member, service)));
  const { next = [], grant = null, ...finding } = found;
  const path = explainPath(deps, deployment, member, to);
  return {
    deployment: deployment.id,
    version: deployment.contract.version,
    from: member,
    to,
    ...finding,
    grant,
    ...path,
    next,
  };
}

/** @throws `MEMBER_UNKNOWN` */
function memberMeant({ view, contract }: Deployment, self: string, from: string): string {
  if (view.places.has(from)) return from;
  const selectors = view.services.get(from)?.on ?? [`tag:${tagOf(from) ?? from}`];
  const members = resolveMembers(view.contract, selectors);
  const mine = members.find(({ name }) => view.places.get(name)?.peer === self);
  const [first] = mine === undefined ? members : [mine];
  if (first !== undefined) return first.name;
  const hint = didYouMean(from, [...view.places.keys(), ...view.services.keys()]);
  throw new MoatError('MEMBER_UNKNOWN', `${contract.name} has no member, service or tag ${from.slice(0, 63)}`, {
    next: [...(hint === undefined ? [] : [hint]), 'moat status   lists them'],
  });
}

/** @throws `SERVICE_UNKNOWN` */
function serviceMeant({ view, contract }: Deployment, to: string): Service {
  const service = view.services.get(to);
  if (service !== undefined) return service;
  const offered = view.places.has(to) ? view.servicesOf(to).map(({ name }) => name) : [];
  const hint = didYouMean(to, [...view.services.keys()]);
  throw new MoatError('SERVICE_UNKNOWN', `${contract.name} has no service ${to.slice(0, 63)}`, {
    ...(view.places.has(to) ? { reason: `${to} is a machine; it offers ${offered.join(', ') || 'nothing'}` } : {}),
    next: [...(hint === undefined ? [] : [hint]), 'moat status   lists them'],
  });
}

/** The lines of the contract, then who holds the places at both ends. */
function deniedByContract(deployment: Deployment, from: string, to: string, now: number): Finding | undefined {
  const { view, contract, forked } = deployment;
  const access = may(view, from, to, now);
  if (!access.allowed) {
    const fork = forked
      ? `; two branches of version ${contract.version} are signed, and what either removed is denied until owners end that`
      : '';
    return { allowed: false, works: null, code: access.code, reason: `${access.reason}${fork}` };
  }
  const granted = { allowed: true, grant: access.grant };
  const vacancy = vacancyOf(view.places.get(from), now);
  if (vacancy !== undefined) {
    return { ...granted, works: false, ...vacancy, reason: `${access.reason}, but ${vacancy.reason}` };
  }
  const via = view.places.get(from)?.via;
  if (via !== undefined) {
    const reason = `${access.reason}; ${from} is a device behind ${via}, and only there its packets are seen`;
    return { ...granted, works: null, code: null, reason, next: [`on ${via}: moat wireguard status`] };
  }
  const offering = resolveMembers(contract, view.services.get(to)?.on ?? []).flatMap(
    ({ name }) => view.places.get(name) ?? [],
  );
  if (offering.some(({ peer }) => peer !== null)) return undefined;
  const [why] = offering.flatMap((place: Place) => vacancyOf(place, now) ?? []);
  return {
    ...granted,
    works: false,
    code: why?.code ?? 'SERVICE_UNREACHABLE',
    reason: `${access.reason}, but ${why?.reason ?? `no member offers ${to}`}`,
    next: why?.next ?? [],
  };
}

/** This machine is FROM: it opens a stream, so that every check on the way has its say. */
async function tried(
  deps: ExplainDeps,
  deployment: Deployment,
  service: Service,
  signal: AbortSignal,
): Promise<Finding> {
  const { clock, open } = deps;
  const { name: to } = service;
  const now = clock.now();
  const { name = '' } = deployment.place ?? {};
  const access = may(deployment.view, name, to, now);
  const granted = access.allowed ? { allowed: true, grant: access.grant } : { allowed: false };
  const stale = staleHere(deployment, now);
  if (stale !== undefined) return stale;
  if (service.protocol === 'udp') {
    if (offers(deps, deployment, to)) return seenFrom(deps, deployment, name, service);
    return { ...granted, ...datagramsTo(deps, deployment, service, access.reason) };
  }
  try {
    const tooLong = new MoatError('PING_TIMEOUT', `no answer within ${TRY_MS} ms`, { retryable: true });
    const stream = await open(deployment.id, to, deadline(TRY_MS, tooLong, signal));
    stream.listen(IGNORE);
    stream.reset('CLIENT_RESET');
    return { ...granted, works: true, code: null, reason: access.reason };
  } catch (error) {
    signal.throwIfAborted();
    return { ...granted, ...failureOf(deps, deployment, to, error, access.reason) };
  }
}

function failureOf(
  deps: ExplainDeps,
  deployment: Deployment,
  to: string,
  error: unknown,
  line: string,
): Pick<Finding, 'works' | 'code' | 'reason' | 'next'> & { allowed?: boolean } {
  const code = errorCode(error);
  const offering = deployment.view.membersOn(to).map(({ name }) => name);
  const where = offering.join(', ');
  if (code === 'NOT_EXPOSED') {
    const target = deployment.view.services.get(to)?.target ?? 'PORT';
    return {
      allowed: false,
      works: false,
      code,
      reason: `${line}, but ${where} did not expose ${target}`,
      next: [`on ${where}: moat node expose ${target} --to ${deployment.contract.name}`],
    };
  }
  const isAway = !offering.some((name) => deps.links.get(peerOf(deployment, name)) !== undefined);
  if (isAway) {
    const noAnchor = deployment.contract.anchors.length > 0 && deps.overlay.reservations().length === 0;
    return {
      works: false,
      code: noAnchor ? 'NO_ANCHOR_REACHABLE' : 'PEER_UNREACHABLE',
      reason: `${line}, but ${where} cannot be reached from here`,
      next: noAnchor
        ? [
            'open a port to one of the machines: 4410 and 4411',
            'moat node run --anchor   on any reachable host, and name it in anchors:',
          ]
        : ['moat status', `on ${where}: moat node status`],
    };
  }
  const detail = isMoatError(error) ? (error.reason ?? error.message) : code;
  const down = code === 'SERVICE_UNREACHABLE';
  return {
    works: false,
    code,
    reason: `${line}, but ${down ? `the service does not answer on ${where}` : detail}`,
    next: down ? [`on ${where}: start the service, or look at moat status`] : [],
  };
}

/** Somebody else is FROM: what this machine offers it can say of its own side, the rest it cannot see. */
async function seenFrom(deps: ExplainDeps, deployment: Deployment, from: string, service: Service): Promise<Finding> {
  const { name } = service;
  const now = deps.clock.now();
  const access = may(deployment.view, from, name, now);
  const granted = access.allowed ? { allowed: true, grant: access.grant } : { allowed: false };
  if (!offers(deps, deployment, name)) {
    return { ...granted, works: null, code: null, reason: access.reason };
  }
  return (
    staleHere(deployment, now) ??
    (await ownSide(deps, deployment, service, false, access.reason, granted)) ?? {
      ...granted,
      works: null,
      code: null,
      reason: access.reason,
    }
  );
}

/** Whether this machine offers the service. */
function offers({ self }: ExplainDeps, { view }: Deployment, service: string): boolean {
  return view.membersOn(service).some(({ peer }) => peer === self);
}

function peerOf({ view }: Deployment, member: string): string {
  return view.places.get(member)?.peer ?? '';
}
