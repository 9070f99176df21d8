import { may, parseTime, selectorsOf, type ContractView, type DenialCode, type Place } from '@moat/contract';

/** Why two members have no tunnel between them. */
export type MeetingDenial = DenialCode | 'WIREGUARD_MISSING';

/**
 * May packets pass between these two members at all? Both have a WireGuard key, and a grant or an egress line leads from
 * one to the other, or between devices behind them. Which packets is the receiver's to say, with its own rules.
 * @param now milliseconds since 1970
 * @returns undefined when they may
 */
export function meetingDenial(view: ContractView, a: string, b: string, now: number): MeetingDenial | undefined {
  if (view.contract.state === 'ended') return 'DEPLOYMENT_ENDED';
  const sides = [view.places.get(a), view.places.get(b)];
  if (a === b || sides.some((place) => place === undefined || place.peer === null)) return 'MEMBER_UNKNOWN';
  if (sides.some((place) => place !== undefined && now >= place.untilMs)) return 'MEMBER_EXPIRED';
  const isRootless = view.contract.network.plane === 'rootless';
  if (isRootless || sides.some((place) => place?.wireguard === undefined)) return 'WIREGUARD_MISSING';
  return reaches(view, a, b, now) || reaches(view, b, a, now) ? undefined : 'GRANT_DENIED';
}

function reaches(view: ContractView, from: string, to: string, now: number): boolean {
  const sources = [from, ...devicesOf(view, from)];
  const offered = [to, ...devicesOf(view, to)].flatMap((member) => view.servicesOf(member));
  return sources.some(
    (source) =>
      offered.some(({ name }) => may(view, source, name, now).allowed) ||
      leavesBy(view, view.places.get(source), to, now),
  );
}

function devicesOf(view: ContractView, member: string): string[] {
  return [...view.places.values()].filter(({ via }) => via === member).map(({ name }) => name);
}

function leavesBy(view: ContractView, place: Place | undefined, via: string, now: number): boolean {
  if (place === undefined || now >= place.untilMs) return false;
  const selectors = selectorsOf(place);
  return (view.contract.egress ?? []).some(
    (line) => line.via === via && isOpen(line.expires, now) && line.from.some((each) => selectors.includes(each)),
  );
}

function isOpen(expires: string | undefined, now: number): boolean {
  return expires === undefined || now < parseTime(expires);
}
