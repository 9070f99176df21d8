import {
  grantedServices,
  may,
  parseTime,
  placesThatReach,
  selectorsOf,
  type ContractView,
  type DenialCode,
  type Place,
} from '@moat/contract';
import type { PeerId } from '@moat/core';

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

/**
 * Members that meet `self` for the sake of a device behind one of them, or of a way out: no grant leads from one member to
 * the other, and yet packets pass between their machines, so links may stand.
 * @param now milliseconds since 1970
 */
export function peersBesidesGrants(view: ContractView, self: string, now: number): ReadonlySet<PeerId> {
  const peers = new Set<PeerId>();
  const add = (place: Place | undefined): void => {
    const machine = place?.via === undefined ? place : view.places.get(place.via);
    if (machine?.wireguard === undefined || machine.name === self) return;
    if (machine.peer !== null) peers.add(machine.peer);
  };
  const devices = devicesOf(view, self);
  for (const device of devices) {
    for (const { name } of grantedServices(view, device, now)) for (const place of view.membersOn(name)) add(place);
  }
  for (const place of placesThatReach(view, view.servicesOf(self), now)) if (place.via !== undefined) add(place);
  const own = new Set([self, ...devices].flatMap((name) => selectors(view, name)));
  for (const { from, via, expires } of view.contract.egress ?? []) {
    if (!isOpen(expires, now)) continue;
    if (from.some((each) => own.has(each))) add(view.places.get(via));
    if (via !== self) continue;
    for (const place of view.places.values()) if (selectorsOf(place).some((each) => from.includes(each))) add(place);
  }
  return peers;
}

function selectors(view: ContractView, member: string): string[] {
  const place = view.places.get(member);
  return place === undefined ? [] : selectorsOf(place);
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
