/** The next version's members: the file's places with the machines, keys, addresses and invites they have. */
import { MoatError, isMoatError, type PeerId } from '@moat/core';
import { allocateAddress, checkAddresses } from '../addresses.ts';
import { resolvePlaces, type Place } from '../places.ts';
import type { Contract, Invite, Member, MemberClaim } from '../schema.ts';
import { fixExpiry } from './carry-over.ts';
import type { FileMember } from './file.ts';

/** A machine for a place, from elsewhere than the file: `init` pins the one it runs on. */
export interface MachinePin {
  readonly node: PeerId;
  readonly wireguard?: string;
}

export interface MemberInput {
  readonly members: readonly FileMember[];
  readonly current: Contract | null;
  readonly claims: readonly MemberClaim[];
  readonly pins: ReadonlyMap<string, MachinePin>;
  readonly invites: ReadonlyMap<string, Invite>;
  readonly deviceKeys: ReadonlyMap<string, string>;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/**
 * Carries over by member name; a member that was renamed is a new place.
 * @param network IPv4 network of the next version.
 * @throws `MEMBER_UNKNOWN` for a pin, invite or key of no member, `CONTRACT_INVALID` for an invite to a place the file
 * pins or a device, a key of no device, `ADDRESS_EXHAUSTED`
 */
export function buildMembers(input: MemberInput, network: string): Member[] {
  const { members, current, claims, now } = input;
  const names = new Set(members.map(({ name }) => name));
  for (const name of [...input.pins.keys(), ...input.invites.keys(), ...input.deviceKeys.keys()]) {
    if (!names.has(name))
      throw new MoatError('MEMBER_UNKNOWN', `the file has no member ${name}`, { details: { member: name } });
  }
  const before = new Map(current?.members.map((member) => [member.name, member]));
  const places = new Map(
    current === null ? [] : resolvePlaces(current, claims, now).map((place) => [place.name, place]),
  );
  const addresses = assignAddresses(members, current, network);
  const next = members.map((member) => {
    const { name, tags, keeper } = member;
    const held = before.get(name);
    const expires = fixExpiry(member.expires, held?.expires, now);
    return {
      name,
      ...(member.via === undefined
        ? machineOf(member, held, places.get(name), input)
        : deviceOf(member, member.via, held, input)),
      ipv4: addresses.get(name) ?? '',
      tags,
      ...(keeper ? { keeper: true as const } : {}),
      ...(expires === undefined ? {} : { expires }),
    };
  });
  return withoutTakenKeys(next, current);
}

/** A key lasts while the place stays a device's, whichever member it is behind. */
function deviceOf(
  { name }: FileMember,
  via: string,
  held: Member | undefined,
  { deviceKeys, invites }: MemberInput,
): Pick<Member, 'via' | 'wireguard'> {
  if (invites.has(name)) {
    throw new MoatError('CONTRACT_INVALID', `${name} cannot be invited: it is a device`, { details: { member: name } });
  }
  const wireguard = deviceKeys.get(name) ?? (held?.via === undefined ? undefined : held.wireguard);
  return { via, ...(wireguard === undefined ? {} : { wireguard }) };
}

/** Who holds the place: what the file says, then a new invite, then a pin, then what was, claims included. */
function machineOf(
  { name, node: written }: FileMember,
  held: Member | undefined,
  place: Place | undefined,
  { pins, invites, deviceKeys }: MemberInput,
): Pick<Member, 'node' | 'wireguard' | 'invite'> {
  if (deviceKeys.has(name)) {
    throw new MoatError('CONTRACT_INVALID', `${name} is no device: its machine makes its own key`, {
      details: { member: name },
    });
  }
  const invited = invites.get(name);
  if (invited !== undefined) {
    if (written === undefined) return { invite: invited };
    throw new MoatError('CONTRACT_INVALID', `${name} cannot be invited: the file pins its machine`, {
      details: { member: name },
    });
  }
  const before = held?.node ?? place?.peer ?? undefined;
  const pin = pins.get(name);
  const node = written ?? pin?.node ?? before;
  // A WireGuard key belongs to its machine and leaves with it.
  // A device's key is in the hands of somebody who holds no machine.
  const known =
    node === before && held?.via === undefined ? (newKeyOf(place) ?? place?.wireguard ?? held?.wireguard) : undefined;
  const wireguard = (pin?.node === node ? pin?.wireguard : undefined) ?? known;
  const vacant = node === undefined && wireguard === undefined;
  return {
    ...(node === undefined ? {} : { node }),
    ...(wireguard === undefined ? {} : { wireguard }),
    ...(vacant && held?.invite !== undefined ? { invite: held.invite } : {}),
  };
}

/** What a pinned machine claimed since. */
function newKeyOf(place: Place | undefined): string | undefined {
  return place?.state === 'pinned' ? (place.claim?.details.wireguard ?? undefined) : undefined;
}

/** A machine that claims the key of another member gets none: two with one key would make the version invalid. */
function withoutTakenKeys(members: readonly Member[], current: Contract | null): Member[] {
  const holders = new Map(current?.members.map(({ name, wireguard }) => [wireguard, name]));
  return members.map((member) => {
    const { wireguard, ...rest } = member;
    if (wireguard === undefined) return member;
    const holder = holders.get(wireguard);
    if (holder !== undefined && holder !== member.name) return rest;
    holders.set(wireguard, member.name);
    return member;
  });
}

/** Written ones first, then kept ones that still fit, then new ones; those of removed members last of all. */
function assignAddresses(
  members: readonly FileMember[],
  current: Contract | null,
  network: string,
): Map<string, string> {
  const assigned = new Map<string, string>();
  const taken = new Set<string>();
  const assign = (name: string, ipv4: string): void => {
    assigned.set(name, ipv4);
    taken.add(ipv4);
  };
  for (const { name, ipv4 } of members) if (ipv4 !== undefined) assign(name, ipv4);
  const kept = new Map(current?.members.map(({ name, ipv4 }) => [name, ipv4]));
  // Addresses of the version in force are of its network; the next one is checked as a whole besides.
  const isSame = current?.network.ipv4 === network;
  for (const { name } of members) {
    const ipv4 = kept.get(name);
    if (ipv4 === undefined || assigned.has(name) || taken.has(ipv4)) continue;
    if (isSame || fits(ipv4, network)) assign(name, ipv4);
  }
  // A machine that has not heard yet must not take a new member for the removed one.
  const avoided = new Set([...taken, ...kept.values()]);
  for (const { name } of members) {
    if (assigned.has(name)) continue;
    const ipv4 = allocate(network, avoided, taken);
    avoided.add(ipv4);
    assign(name, ipv4);
  }
  return assigned;
}

function allocate(network: string, avoided: ReadonlySet<string>, taken: ReadonlySet<string>): string {
  try {
    return allocateAddress(network, avoided);
  } catch (error) {
    if (!isMoatError(error, 'ADDRESS_EXHAUSTED')) throw error;
    return allocateAddress(network, taken);
  }
}

function fits(ipv4: string, network: string): boolean {
  try {
    checkAddresses({ network: { ipv4: network, plane: 'auto' }, members: [{ name: 'member', ipv4, tags: [] }] });
    return true;
  } catch {
    return false;
  }
}
