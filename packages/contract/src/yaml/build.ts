/** A deployment file and what is known become the next version of the contract. */
import { MoatError, formatKey, publicKeyFromPeerId, toBase64url, type DeploymentId, type OwnerKey } from '@moat/core';
import { canonicalBytes, canonicalize } from '../canonical.ts';
import { checkContract } from '../check.ts';
import { ownerSetOf } from '../genesis.ts';
import { CONTRACT_LIMITS, MAX_CONTRACT_BYTES } from '../limits.ts';
import type {
  Contract,
  Egress,
  GatewayPin,
  Grant,
  Invite,
  MemberClaim,
  Owners,
  PublishLine,
  Service,
} from '../schema.ts';
import { tagOf } from '../selector.ts';
import { buildMembers, type MachinePin } from './build-members.ts';
import {
  CarriedGrants,
  carriedAnchors,
  carriedEgress,
  carriedLine,
  defaultNetwork,
  fixExpiry,
  pinOf,
} from './carry-over.ts';
import type { DeploymentFile, FilePublish } from './file.ts';
import { boxAuth } from './secrets.ts';

/** The writer's own key, under the name the contract is to show. */
export interface NamedKey {
  readonly name: string;
  readonly key: OwnerKey;
}

export interface BuildInput {
  readonly file: DeploymentFile;
  /** From the genesis; the current version's, where there is one. */
  readonly deployment: DeploymentId;
  /** Null = this makes version 0. */
  readonly current: Contract | null;
  /** Witnessed claims on the current version: the machines that joined are pinned. */
  readonly claims: readonly MemberClaim[];
  /** The owners of version 0 where the file names none; as the genesis has them. */
  readonly ownerKeys: readonly NamedKey[];
  /** By domain: what `resolveOnline` found. Replaces the pin the current version has. */
  readonly gateways?: ReadonlyMap<string, GatewayPin>;
  /** By host: what `resolveOnline` found. */
  readonly anchors?: ReadonlyMap<string, readonly string[]>;
  /** By path as the file has it: what `resolveSecrets` read. */
  readonly secrets?: ReadonlyMap<string, string>;
  /** By member name: machines to pin besides the file's. */
  readonly pins?: ReadonlyMap<string, MachinePin>;
  /** By member name: WireGuard keys of devices. */
  readonly deviceKeys?: ReadonlyMap<string, string>;
  /** By member name: new invites; the machine that holds the place loses it. */
  readonly invites?: ReadonlyMap<string, Invite>;
  /** Milliseconds since 1970. */
  readonly now: number;
  /** Unpredictable bytes, for salts. */
  readonly random: (bytes: number) => Uint8Array;
}

/**
 * The next version. When nothing differs it is `current` itself, the same object: applying twice changes nothing.
 * @throws `DEPLOYMENT_ENDED`, `GENESIS_MISMATCH`, `OWNERS_UNREACHABLE`, `KEEPER_MISSING`, `MEMBER_UNKNOWN`,
 * `GATEWAY_UNRESOLVED` and `ANCHOR_UNRESOLVED` (no pin is known: run `resolveOnline` first), `ADDRESS_INVALID`,
 * `ADDRESS_EXHAUSTED`, `SECRET_MISSING` (not in `secrets`: run `resolveSecrets` first), `GATEWAY_BOX_MISSING`,
 * `CONTRACT_INVALID`
 */
export function buildContract(input: BuildInput): Contract {
  const { file, current, deployment, pins = new Map(), invites = new Map(), deviceKeys = new Map() } = input;
  if (current !== null && current.deployment !== deployment) {
    throw new MoatError('GENESIS_MISMATCH', 'the current version is of another deployment', {
      details: { deployment },
    });
  }
  if (current?.state === 'ended') {
    throw new MoatError('DEPLOYMENT_ENDED', `${current.name} was ended by its owners`, { details: { deployment } });
  }
  const owners = ownersOf(file, current, input.ownerKeys);
  const ipv4 = file.network.ipv4 ?? current?.network.ipv4 ?? defaultNetwork(file.name, ownerSetOf(owners));
  const members = buildMembers({ ...input, members: file.members, pins, invites, deviceKeys }, ipv4);
  const next: Contract = {
    type: 'moat/contract/1',
    deployment,
    name: file.name,
    version: current === null ? 0 : current.version + 1,
    owners,
    anchors: anchorsOf(input),
    network: { ...file.network, ipv4 },
    members,
    services: file.services.map((service): Service => ({ ...service })),
    access: accessOf(input),
    ...egressOf(input),
    publish: file.publish.flatMap((line) => publishLines(line, input, { owners, members })),
    state: 'active',
  };
  requireKeeper(next);
  checkContract(next);
  if (canonicalBytes(next).length > MAX_CONTRACT_BYTES) {
    throw new MoatError('CONTRACT_INVALID', 'the contract would be larger than 1 MiB');
  }
  if (current !== null && canonicalize({ ...next, version: current.version }) === canonicalize(current)) return current;
  return next;
}

/**
 * Who will own the next version: the file's keys, else the current version's, else `ownerKeys` with weight 1.
 * A genesis is made of this at version 0.
 * @throws `OWNERS_UNREACHABLE`, `OWNER_UNRESOLVED` (run `withOwnerKeys` first)
 */
export function ownersOf(file: DeploymentFile, current: Contract | null, ownerKeys: readonly NamedKey[]): Owners {
  const written = file.owners.keys;
  const keys = written ?? current?.owners.keys ?? ownerKeys.map(({ name, key }) => ({ name, key, weight: 1 }));
  const kept = written === undefined ? current?.owners.threshold : undefined;
  const threshold = file.owners.threshold ?? kept ?? 1;
  const handle = keys.find(({ key }) => key.startsWith('@'));
  if (handle !== undefined) throw new MoatError('OWNER_UNRESOLVED', `${handle.key} has not been looked up`);
  const weight = keys.reduce((sum, key) => sum + key.weight, 0);
  if (weight < threshold) {
    throw new MoatError(
      'OWNERS_UNREACHABLE',
      `owners.threshold is ${threshold}, but all owners together weigh ${weight}`,
      {
        details: { threshold, weight },
      },
    );
  }
  return { threshold, keys };
}

function anchorsOf({ file, current, anchors }: BuildInput): string[] {
  const found = file.anchors.flatMap((anchor): readonly string[] => {
    if (anchor.startsWith('/')) return [anchor];
    const resolved = anchors?.get(anchor) ?? carriedAnchors(anchor, current);
    if (resolved.length > 0) return resolved;
    throw new MoatError('ANCHOR_UNRESOLVED', `anchor ${anchor} has not been resolved`, { details: { anchor } });
  });
  const unique = [...new Set(found)];
  if (unique.length > CONTRACT_LIMITS.anchors) {
    throw new MoatError('CONTRACT_INVALID', `the anchors have more than ${CONTRACT_LIMITS.anchors} addresses`);
  }
  return unique;
}

function accessOf({ file, current, now }: BuildInput): Grant[] {
  const carried = new CarriedGrants(current);
  return file.access.map((line) => {
    const expires = fixExpiry(line.expires, carried.take(line)?.expires, now);
    return { from: line.from, to: line.to, ...(expires === undefined ? {} : { expires }) };
  });
}

function egressOf({ file, current, now }: BuildInput): Pick<Contract, 'egress'> {
  const egress = file.egress.map((line): Egress => {
    const expires = fixExpiry(line.expires, carriedEgress(line, current)?.expires, now);
    return { from: line.from, via: line.via, ...(expires === undefined ? {} : { expires }) };
  });
  return egress.length === 0 ? {} : { egress };
}

function publishLines(
  { name, service, tls, port, transfer, gateways, auth, rules }: FilePublish,
  input: BuildInput,
  people: Pick<Contract, 'owners' | 'members'>,
): PublishLine[] {
  return gateways.map((gateway) => {
    const pin = typeof gateway === 'string' ? requirePin(name, gateway, input) : gateway;
    const salt = carriedLine(name, pin.domain, input.current)?.salt ?? toBase64url(input.random(16));
    const line: PublishLine = {
      name,
      salt,
      service,
      tls,
      gateway: pin,
      ...(port === undefined ? {} : { port }),
      ...(transfer === undefined ? {} : { transfer }),
      ...(rules === undefined ? {} : { rules }),
    };
    return auth === undefined ? line : { ...line, auth: boxAuth(auth, line, input, keysOf(auth.keys ?? [], people)) };
  });
}

/** What names of keys stand for in this version; machines that have not joined yet have none. Sorted. */
function keysOf(names: readonly string[], { owners, members }: Pick<Contract, 'owners' | 'members'>): OwnerKey[] {
  const keys = names.flatMap((name): readonly OwnerKey[] => {
    if (name.startsWith('ed25519:')) return [name];
    if (name === 'owners') return owners.keys.map(({ key }) => key);
    const tag = tagOf(name);
    const named = members.filter((member) =>
      tag === undefined ? name === 'members' || member.name === name : member.tags.includes(tag),
    );
    return named.flatMap(({ node }) => (node === undefined ? [] : formatKey('ed25519', publicKeyFromPeerId(node))));
  });
  return [...new Set(keys)].sort();
}

function requirePin(name: string, domain: string, { file, gateways, current }: BuildInput): GatewayPin {
  const pin = gateways?.get(domain) ?? pinOf(name, domain, file, current);
  if (pin !== undefined) return pin;
  throw new MoatError('GATEWAY_UNRESOLVED', `gateway ${domain} has not been resolved`, { details: { domain } });
}

function requireKeeper({ members }: Contract): void {
  const keepers = members.filter(({ keeper }) => keeper === true);
  if (keepers.some(({ node }) => node !== undefined)) return;
  const names = keepers.map(({ name }) => name);
  throw new MoatError('KEEPER_MISSING', 'no keeper has a machine: nobody could witness who joins', {
    reason: names.length === 0 ? 'no member is a keeper' : `of ${names.join(', ')} none is pinned`,
    next: ['run moat init on the machine that is to be the first keeper', 'pin one in the file with node: 12D3Koo…'],
    details: { keepers: names },
  });
}
