/** The one policy function: who may reach what, and by which line. */
import type { PeerId } from '@moat/core';
import type { Place } from './places.ts';
import { selectorsOf } from './selector.ts';
import { formatTime } from './time.ts';
import type { Publication, Service } from './schema.ts';
import type { ContractView, ResolvedGrant } from './view.ts';

/** Why not. */
export type DenialCode =
  'DEPLOYMENT_ENDED' | 'MEMBER_UNKNOWN' | 'MEMBER_EXPIRED' | 'SERVICE_UNKNOWN' | 'GRANT_DENIED' | 'GRANT_EXPIRED';

/** An answer and the sentence that explains it to people. */
export type Access =
  | {
      readonly allowed: true;
      /** Index of the line in `contract.access`. */
      readonly grant: number;
      /** When this answer ends, in milliseconds since 1970; infinite when nothing expires. */
      readonly untilMs: number;
      readonly reason: string;
    }
  | { readonly allowed: false; readonly code: DenialCode; readonly reason: string };

/**
 * May the member `from` open a stream to the service `to`? Asked on both sides of every stream. Of several
 * lines that allow it, the one that lasts longest answers. Being a member is not enough, and neither is
 * offering the service: the default is deny.
 * @param now milliseconds since 1970; an expiry that has come is over, even if the view is older.
 */
export function may(view: ContractView, from: string, to: string, now: number): Access {
  const { contract } = view;
  if (contract.state === 'ended') return denied('DEPLOYMENT_ENDED', `${contract.name} was ended by its owners`);
  const place = view.places.get(from);
  if (place === undefined) return denied('MEMBER_UNKNOWN', `${contract.name} has no member ${from}`);
  if (now >= place.untilMs) {
    return denied('MEMBER_EXPIRED', `the membership of ${from} ended at ${formatTime(place.untilMs)}`);
  }
  if (!view.services.has(to)) return denied('SERVICE_UNKNOWN', `${contract.name} has no service ${to}`);

  const best = longest(view.grantsTo(to), selectorsOf(place));
  if (best === undefined) {
    return denied('GRANT_DENIED', `no access line of version ${contract.version} lets ${from} reach ${to}`);
  }
  if (now >= best.expiresMs) {
    return denied('GRANT_EXPIRED', `${best.text} expired at ${formatTime(best.expiresMs)}`);
  }
  return {
    allowed: true,
    grant: best.grant,
    untilMs: Math.min(best.expiresMs, place.untilMs),
    reason: best.text,
  };
}

/** The services a member may reach now, in the contract's order. */
export function grantedServices(view: ContractView, from: string, now: number): Service[] {
  return view.contract.services.filter(({ name }) => may(view, from, name, now).allowed);
}

/**
 * Who may reach any of these services now, in the contract's order: what {@link may} says of each pair, at the cost of
 * the access lines alone. Asked pair by pair, a contract of 1 MiB takes seconds.
 * @param services of this view.
 */
export function placesThatReach(view: ContractView, services: readonly Service[], now: number): Place[] {
  if (view.contract.state === 'ended') return [];
  const lines = new Set<ReadonlySet<string>>();
  for (const { name } of services) {
    for (const { from, expiresMs } of view.grantsTo(name)) if (now < expiresMs) lines.add(from);
  }
  const allowed = new Set<string>();
  for (const from of lines) for (const selector of from) allowed.add(selector);
  return [...view.places.values()].filter(
    (place) => now < place.untilMs && selectorsOf(place).some((selector) => allowed.has(selector)),
  );
}

/** A member's answer to a gateway that opens a stream to a service. */
export interface PublishAccess {
  readonly allowed: boolean;
  /** The publications at this gateway that lead to the service. */
  readonly publications: readonly Publication[];
}

/** May this gateway open streams to the service? Only what is published at it. */
export function mayPublish(view: ContractView, gateway: PeerId, service: string): PublishAccess {
  const publications = view.publishedAt(gateway).filter((publication) => leadsTo(publication, service));
  return { allowed: publications.length > 0, publications };
}

function leadsTo({ service, others = [] }: Publication, wanted: string): boolean {
  return service === wanted || others.some((other) => other.service === wanted);
}

/** The line that lets in whoever has these selectors and ends last; the first of equals. */
function longest(grants: readonly ResolvedGrant[], selectors: readonly string[]): ResolvedGrant | undefined {
  let best: ResolvedGrant | undefined;
  for (const grant of grants) {
    if (
      selectors.some((selector) => grant.from.has(selector)) &&
      (best === undefined || grant.expiresMs > best.expiresMs)
    )
      best = grant;
  }
  return best;
}

function denied(code: DenialCode, reason: string): Access {
  return { allowed: false, code, reason };
}
