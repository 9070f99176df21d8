/**
 * The owners of one deployment, in the test's own hand: they write any version they like, sign it with any of their
 * keys, and submit it where they like. What `moat apply` would refuse to write is written here.
 */
import { randomBytes } from 'node:crypto';
import type { AgentClient, CallOptions } from '@moat/admin-api';
import {
  createGenesis,
  createInvite,
  deploymentIdOf,
  encodeToken,
  extendProof,
  headHash,
  headOf,
  ownerSetOf,
  signHead,
  type Contract,
  type Genesis,
  type HeadProof,
  type Member,
  type Owners,
  type PublishLine,
  type SignedHead,
} from '@moat/contract';
import { toBase64url } from '@moat/core';
import { createOwnerKey, type OwnerKeyPair } from '@moat/identity';

/** What a test says of a version; the rest is carried over from the version before. */
export type Draft = Partial<Omit<Contract, 'type' | 'deployment' | 'version'>>;

/** One signed version with all it takes to believe it. */
export interface Version {
  readonly contract: Contract;
  readonly signed: SignedHead;
  readonly proof: HeadProof;
}

/** A seat among the owners. */
export interface Seat {
  readonly name: string;
  readonly key: OwnerKeyPair;
  readonly weight: number;
}

/** A vacant place and the token for it. */
export interface Place {
  readonly member: Member;
  readonly seed: Uint8Array;
}

export function seat(name: string, weight = 1): Seat {
  return { name, key: createOwnerKey(), weight };
}

export function ownersOf(seats: readonly Seat[], threshold: number): Owners {
  return { threshold, keys: seats.map(({ name, key, weight }) => ({ name, key: key.key, weight })) };
}

export class Pen {
  readonly seats: readonly Seat[];
  readonly genesis: Genesis;
  readonly #threshold: number;
  /** The newest version that was applied. */
  current: Version | undefined;

  constructor(seats: readonly Seat[] = [seat('ana')], threshold = 1) {
    this.seats = seats;
    this.#threshold = threshold;
    this.genesis = createGenesis(ownerSetOf(ownersOf(seats, threshold)), randomBytes(16));
  }

  get deployment(): string {
    return deploymentIdOf(this.genesis);
  }

  get version(): Version {
    if (this.current === undefined) throw new Error('no version is applied yet');
    return this.current;
  }

  /** A version after `after`, signed by `by`, and shown to nobody. */
  write(draft: Draft, by: readonly Seat[] = this.seats, after: Version | undefined = this.current): Version {
    const before: Draft = after === undefined ? EMPTY : after.contract;
    const contract = {
      ...before,
      owners: ownersOf(this.seats, this.#threshold),
      ...(after === undefined ? {} : { owners: after.contract.owners }),
      ...draft,
      type: 'moat/contract/1',
      deployment: this.deployment,
      version: after === undefined ? 0 : after.contract.version + 1,
    } as Contract;
    return this.sign(contract, by, after);
  }

  /** Signs any contract as the version after `after`. */
  sign(contract: Contract, by: readonly Seat[], after: Version | undefined): Version {
    const head = headOf(contract, after === undefined ? null : headHash(after.signed.head));
    const signed = { head, signatures: by.map(({ key }) => signHead(head, key.signer)) };
    return { contract, signed, proof: extendProof(after?.proof ?? null, this.genesis, signed, contract.owners) };
  }

  /** Submits a version at an agent and counts on it from now on. */
  async submit(client: AgentClient, version: Version, call?: CallOptions): Promise<void> {
    const [contract, signed] = [asDocument(version.contract), asDocument(version.signed)];
    if (version.contract.version === 0) {
      await client.createDeployment({ genesis: asDocument(this.genesis), contract, signed }, call);
    } else {
      await client.submitVersion(this.deployment, { contract, signed }, call);
    }
    this.current = version;
  }

  async apply(client: AgentClient, draft: Draft, by: readonly Seat[] = this.seats): Promise<Version> {
    const version = this.write(draft, by);
    await this.submit(client, version);
    return version;
  }

  /** A vacant place that stays open for `ttlMs`. */
  invited(name: string, host: number, more: Partial<Member> = {}, ttlMs = 3_600_000): Place {
    const seed = randomBytes(32);
    const expires = new Date(Date.now() + ttlMs).toISOString();
    const invite = { key: createInvite(seed).key, expires };
    return { seed, member: { name, ipv4: `10.77.0.${host}`, tags: [], invite, ...more } };
  }

  /** The token for `place`, or a locator without one, naming these keepers. */
  token(keepers: readonly string[], place?: Place, anchors: readonly string[] = []): string {
    return this.tokenFor(this.version, keepers, place, anchors);
  }

  /** Like {@link token}, for a version that is not applied yet. */
  tokenFor(version: Version, keepers: readonly string[], place?: Place, anchors: readonly string[] = []): string {
    const { head } = version.signed;
    return encodeToken({
      deployment: this.deployment,
      version: head.version,
      head: headHash(head),
      keepers,
      anchors,
      ...(place === undefined ? {} : { seed: toBase64url(place.seed), member: place.member.name }),
    });
  }
}

const EMPTY: Draft = {
  name: 'shop',
  anchors: [],
  network: { ipv4: '10.77.0.0/16', plane: 'rootless' },
  members: [],
  services: [],
  access: [],
  publish: [],
  state: 'active',
};

/** A pinned member. */
export function pinned(name: string, host: number, node: string, more: Partial<Member> = {}): Member {
  return { name, node, ipv4: `10.77.0.${host}`, tags: [], ...more };
}

/** A publish line for a service at one gateway. */
export function publication(name: string, service: string, domain: string, peers: readonly string[]): PublishLine {
  return { name, salt: toBase64url(randomBytes(16)), service, tls: 'terminate', gateway: { domain, peers } };
}

export function asDocument(value: object): Record<string, never> {
  return value as Record<string, never>;
}
