/** What a version allows but its writer may not want, said before it is signed. */
import { canonicalize } from './canonical.ts';
import { ownerSetOf } from './genesis.ts';
import { proofRecord } from './host-proof.ts';
import type { Place } from './places.ts';
import { servicesOfLine } from './publish-rules.ts';
import type { Contract } from './schema.ts';
import { witnessesOf } from './selector.ts';
import { parseTime } from './time.ts';

/** Why a warning is given; stable, for `--json`. */
export type PlanWarningCode =
  | 'SINGLE_KEEPER'
  | 'STALE_SINGLE_KEEPER'
  | 'OWNERS_CHANGE'
  | 'DEPLOYMENT_ENDS'
  | 'FORK_ENDS'
  | 'PLACE_FROZEN'
  | 'MEMBERSHIP_OVER'
  | 'GRANT_OVER'
  | 'SERVICE_UNREACHABLE'
  | 'PROOF_NEEDED'
  | 'NO_WIREGUARD_KEY'
  | 'DEVICE_SHUT_OUT';

export interface PlanWarning {
  readonly code: PlanWarningCode;
  /** As in a plan's changes. */
  readonly path: string;
  readonly text: string;
}

export interface WarningInput {
  readonly from: Contract | null;
  readonly to: Contract;
  /** The newest version of the other branch of a fork, where this version ends one. */
  readonly ends?: Contract;
  /** `resolvePlaces` of the current version and its claims. */
  readonly places?: readonly Place[];
  /** Milliseconds since 1970. */
  readonly now: number;
}

export function planWarnings({ from, to, ends, places = [], now }: WarningInput): PlanWarning[] {
  // Of what ends nothing else matters.
  if (to.state === 'ended') return [...deploymentEnds(from, to), ...owners(from, to)];
  return [
    ...forkEnds(from, to, ends),
    ...keepers(to),
    ...owners(from, to),
    ...frozen(from, to, places),
    ...over(to, now),
    ...unreachable(to),
    ...hosts(from, to),
    ...keyless(to, places),
    ...shutOut(to),
  ];
}

function keepers(to: Contract): PlanWarning[] {
  const pinned = witnessesOf(to).length;
  if (pinned > 1) return [];
  const single: PlanWarning = {
    code: 'SINGLE_KEEPER',
    path: 'members',
    text: 'only one keeper has a machine: while it is off, no machine can join and news travels only between members that meet',
  };
  if (to.network.maxStale === undefined) return [single];
  const text = 'with maxStale and only one keeper, the whole network stops when that machine stays off';
  return [single, { code: 'STALE_SINGLE_KEEPER', path: 'network.maxStale', text }];
}

function owners(from: Contract | null, to: Contract): PlanWarning[] {
  if (from === null || canonicalize(ownerSetOf(from.owners)) === canonicalize(ownerSetOf(to.owners))) return [];
  const text = `the owners change: ${quorumOf(from)} and ${quorumOf(to)} must sign`;
  return [{ code: 'OWNERS_CHANGE', path: 'owners', text }];
}

/** `2 of ana, ben and cleo (version 3)`; weights are said where they differ from 1. */
function quorumOf({ owners: { threshold, keys }, version }: Contract): string {
  const names = keys.map(({ name, weight }) => (weight === 1 ? name : `${name} (weight ${weight})`));
  const [last = '', ...others] = names.toReversed();
  const people = others.length === 0 ? last : `${others.toReversed().join(', ')} and ${last}`;
  return `${threshold} of ${people} (version ${version})`;
}

function deploymentEnds(from: Contract | null, to: Contract): PlanWarning[] {
  const text =
    'the deployment ends for ever: no version can follow, every machine leaves the network and its public names are released';
  return to.state === 'ended' && from?.state !== 'ended' ? [{ code: 'DEPLOYMENT_ENDS', path: 'state', text }] : [];
}

function forkEnds(from: Contract | null, to: Contract, ends: Contract | undefined): PlanWarning[] {
  if (ends === undefined || from === null) return [];
  const quorums = [...new Set([from, ends].map(quorumOf))].join(', and ');
  const text = `version ${to.version} ends the fork: this branch goes on, the other one (version ${ends.version}) ends; ${quorums} must sign, and the owners before the branches parted; a machine at any other version of the other branch runs moat join again`;
  return [{ code: 'FORK_ENDS', path: 'version', text }];
}

function frozen(from: Contract | null, to: Contract, places: readonly Place[]): PlanWarning[] {
  const before = new Map(from?.members.map((member) => [member.name, member]));
  const after = new Map(to.members.map((member) => [member.name, member]));
  return places.flatMap(({ name, state }): PlanWarning[] => {
    const member = after.get(name);
    // A machine or another invite in the new version decides.
    const undecided = member?.node === undefined && member?.invite?.key === before.get(name)?.invite?.key;
    if (state !== 'frozen' || member === undefined || !undecided) return [];
    const text = `two machines claimed ${name}: it stays frozen until node: names one or a new invite is made`;
    return [{ code: 'PLACE_FROZEN', path: `members.${name}`, text }];
  });
}

function over(to: Contract, now: number): PlanWarning[] {
  const isOver = (expires: string | undefined): boolean => expires !== undefined && parseTime(expires) <= now;
  return [
    ...(to.egress ?? []).flatMap(({ expires }, i): PlanWarning[] => {
      const text = `this egress line ended at ${expires}; to prolong it, write a later time`;
      return isOver(expires) ? [{ code: 'GRANT_OVER', path: `egress[${i}]`, text }] : [];
    }),
    ...to.members.flatMap(({ name, expires }): PlanWarning[] => {
      const text = `the membership of ${name} ended at ${expires}; to prolong it, write a later time`;
      return isOver(expires) ? [{ code: 'MEMBERSHIP_OVER', path: `members.${name}`, text }] : [];
    }),
    ...to.access.flatMap(({ expires }, i): PlanWarning[] => {
      const text = `this access line ended at ${expires}; to prolong it, write a later time`;
      return isOver(expires) ? [{ code: 'GRANT_OVER', path: `access[${i}]`, text }] : [];
    }),
  ];
}

function unreachable(to: Contract): PlanWarning[] {
  const reached = new Set([...to.access.flatMap((grant) => grant.to), ...to.publish.flatMap(servicesOfLine)]);
  return to.services.flatMap(({ name }): PlanWarning[] => {
    const text = `nobody may reach ${name}: no access line and no publish line names it`;
    return reached.has(name) ? [] : [{ code: 'SERVICE_UNREACHABLE', path: `services.${name}`, text }];
  });
}

/** Devices that nobody can connect yet, and members that only a link reaches where all is meant to go by WireGuard. */
function keyless(to: Contract, places: readonly Place[]): PlanWarning[] {
  const known = new Set(places.flatMap(({ name, wireguard }) => (wireguard === undefined ? [] : name)));
  const without = to.members.filter(({ wireguard }) => wireguard === undefined);
  const machines = without.filter(({ name, node }) => node !== undefined && !known.has(name)).map(({ name }) => name);
  const devices = without.flatMap(({ name, via }): PlanWarning[] => {
    const text = `device ${name} has no key yet: moat wireguard export ${name} makes it`;
    return via === undefined ? [] : [{ code: 'NO_WIREGUARD_KEY', path: `members.${name}`, text }];
  });
  if (to.network.plane !== 'wireguard' || machines.length === 0) return devices;
  const shown =
    machines.length > 3 ? `${machines.slice(0, 3).join(', ')} and ${machines.length - 3} more` : machines.join(', ');
  const text = `no WireGuard key: ${shown}; run moat wireguard up there, until then services are reached rootless`;
  return [{ code: 'NO_WIREGUARD_KEY', path: 'network.plane', text }, ...devices];
}

function shutOut({ network, members }: Contract): PlanWarning[] {
  if (network.postQuantum !== 'require') return [];
  return members.flatMap(({ name, via }): PlanWarning[] => {
    const text = `device ${name} is shut out: stock WireGuard cannot agree on the post-quantum keys that are required`;
    return via === undefined ? [] : [{ code: 'DEVICE_SHUT_OUT', path: `members.${name}`, text }];
  });
}

/** Hosts outside the gateway's domain that are new: they need a record before anybody serves them. */
function hosts(from: Contract | null, to: Contract): PlanWarning[] {
  const before = new Set(from?.publish.map(({ name }) => name));
  const fresh = to.publish.filter(
    ({ name, gateway }) => name.includes('.') && !name.endsWith(`.${gateway.domain}`) && !before.has(name),
  );
  return [...new Set(fresh.map(({ name }) => name))].map((name): PlanWarning => {
    const { name: record, value } = proofRecord(name, to.deployment);
    const text = `${name} is served once this record is there: ${record}. TXT "${value}"`;
    return { code: 'PROOF_NEEDED', path: `publish.${name}`, text };
  });
}
