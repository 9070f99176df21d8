/** Which addresses two machines try, in which order, and why they try none. */
import type { Endpoint } from '@moat/core';

import { isPrivate, sameSubnet, type Candidate, type CandidateKind } from './candidates.ts';
import type { NatKind } from './nat-kind.ts';
import type { PathReason } from './path-state.ts';

/** One machine's end of a path. */
export interface PathEnd {
  readonly nat: NatKind;
  readonly candidates: readonly Candidate[];
}

/** One pair of addresses. A side without an address to send to waits: the other's packets say where it is. */
export interface PunchAttempt {
  readonly by: CandidateKind;
  /** Where we send. */
  readonly to: Candidate | null;
  /** Where the peer sends. */
  readonly from: Candidate | null;
  /** Milliseconds. */
  readonly lastsMs: number;
  /** It seldom works: meanwhile packets go on where they went. */
  readonly isUnlikely?: true;
}

/** Milliseconds of all attempts together; afterwards packets ride again. */
export const PUNCH_MS = 1_500;
const LAN_MS = 300;
const IPV6_MS = 400;
const IPV4_MS = 1_000;
/** The same where it works only with a router that lets everybody in (full cone), which nobody can tell before. */
const CONE_MS = 600;
const MOST_LAN_PAIRS = 2;

/**
 * What is worth trying between us and a peer, likeliest first; together at most {@link PUNCH_MS}. `isForwarded`: there is
 * a good way already, not to be disturbed by what is unlikely.
 */
export function planPunch(ours: PathEnd, theirs: PathEnd, isForwarded = false): readonly PunchAttempt[] {
  const attempts = [...lanPairs(ours, theirs), ...ipv6Pair(ours, theirs), ...ipv4Pair(ours, theirs, isForwarded)];
  let leftMs = PUNCH_MS;
  return attempts.flatMap((attempt) => {
    const lastsMs = Math.min(attempt.lastsMs, leftMs);
    leftMs -= lastsMs;
    return lastsMs > 0 ? [{ ...attempt, lastsMs }] : [];
  });
}

/** True where UDP passes, and a direct path is not to be expected. */
export function needsForwarder(ours: PathEnd, theirs: PathEnd, attempts: readonly PunchAttempt[]): boolean {
  return ours.nat !== 'blocked' && theirs.nat !== 'blocked' && attempts.every(({ isUnlikely }) => isUnlikely);
}

/** Why there is no direct path after all that {@link planPunch} proposed was `tried`. */
export function reasonOf(ours: PathEnd, theirs: PathEnd, tried: boolean): PathReason {
  if (ours.nat === 'blocked') return 'UDP_BLOCKED';
  if (theirs.nat === 'blocked') return 'PEER_UDP_BLOCKED';
  if (!isOpen(ours) && !isOpen(theirs)) {
    if (ours.nat === 'edm' && theirs.nat === 'edm') return 'BOTH_SYMMETRIC';
    if (ours.nat === 'edm') return 'WE_SYMMETRIC';
    if (theirs.nat === 'edm') return 'PEER_SYMMETRIC';
  }
  if (tried) return 'UNANSWERED';
  if (isUnseen(ours)) return 'NO_ANCHOR';
  return isUnseen(theirs) ? 'PEER_NO_ANCHOR' : 'NO_COMMON_WAY';
}

function lanPairs(ours: PathEnd, theirs: PathEnd): readonly PunchAttempt[] {
  const seen = new Set(of(ours, 'observed').map(({ host }) => host));
  const together = seen.size === 0 || of(theirs, 'observed').length === 0 || shares(theirs, seen);
  if (!together) return [];
  const own = of(ours, 'lan');
  return of(theirs, 'lan')
    .flatMap((to) => own.filter(({ host }) => sameFamily(host, to.host)).map((from) => ({ to, from })))
    .toSorted((a, b) => near(b) - near(a))
    .filter(({ to }, index, pairs) => pairs.findIndex((pair) => pair.to === to) === index)
    .slice(0, MOST_LAN_PAIRS)
    .map(({ to, from }) => ({ by: 'lan', to, from, lastsMs: LAN_MS }));
}

function ipv6Pair(ours: PathEnd, theirs: PathEnd): readonly PunchAttempt[] {
  const from = ipv6Address(ours);
  const to = ipv6Address(theirs);
  return from === undefined || to === undefined ? [] : [{ by: 'ipv6', to, from, lastsMs: IPV6_MS }];
}

/** What anchors saw is the address that packets leave by; a machine that they see by IPv4 has but its own word for it. */
function ipv6Address(end: PathEnd): Candidate | undefined {
  return of(end, 'observed').find(({ host }) => host.includes(':')) ?? of(end, 'ipv6')[0];
}

function ipv4Pair(ours: PathEnd, theirs: PathEnd, isForwarded: boolean): readonly PunchAttempt[] {
  const from = fixedAddress(ours);
  const to = fixedAddress(theirs);
  const by = (to ?? from)?.kind;
  if (by === undefined) return [];
  if (to !== null && from !== null) return [{ by, to, from, lastsMs: IPV4_MS }];
  // Whose port nobody can foresee reaches what lets everybody in.
  const [known, other] = to === null ? [ours, theirs] : [theirs, ours];
  if (other.nat !== 'edm') return [];
  if (isOpen(known)) return [{ by, to, from, lastsMs: IPV4_MS }];
  return isForwarded ? [] : [{ by, to, from, lastsMs: CONE_MS, isUnlikely: true }];
}

/** The one IPv4 address and port under which everybody reaches us, once our side has sent there. */
function fixedAddress(end: PathEnd): Candidate | null {
  const mapped = mappedAddress(end);
  if (mapped !== null) return mapped;
  if (end.nat === 'edm' || end.nat === 'blocked') return null;
  return of(end, 'observed').find(({ host }) => !host.includes(':')) ?? null;
}

/** A mapping counts where it is of the outermost router: the address that anchors see, or one that is nobody's own. */
function mappedAddress(end: PathEnd): Candidate | null {
  const seen = of(end, 'observed');
  const isOutermost = ({ host }: Endpoint): boolean =>
    seen.length === 0 ? !isPrivate(host) : seen.some((candidate) => candidate.host === host);
  return of(end, 'mapped').find(isOutermost) ?? null;
}

function isOpen(end: PathEnd): boolean {
  return end.nat === 'none' || mappedAddress(end) !== null;
}

/** Where there is IPv6 only, anchors see that. */
function isUnseen(end: PathEnd): boolean {
  return end.nat === 'unseen' && of(end, 'observed').length === 0;
}

function shares(end: PathEnd, hosts: ReadonlySet<string>): boolean {
  return of(end, 'observed').some(({ host }) => hosts.has(host));
}

function near({ to, from }: { readonly to: Candidate; readonly from: Candidate }): number {
  return Number(sameSubnet(to.host, from.host));
}

function sameFamily(a: string, b: string): boolean {
  return a.includes(':') === b.includes(':');
}

function of(end: PathEnd, kind: CandidateKind): readonly Candidate[] {
  return end.candidates.filter((candidate) => candidate.kind === kind);
}
