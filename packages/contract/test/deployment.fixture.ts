/** A small deployment with fixed keys: three owners, a pinned keeper, one vacant place, a gateway. */
import { createHash } from 'node:crypto';
import { peerIdFromPublicKey, toBase64url, type OwnerKey, type PeerId, type Signer } from '@moat/core';
import {
  createClaim,
  createGenesis,
  createInvite,
  deploymentIdOf,
  extendProof,
  headHash,
  headOf,
  ownerSetOf,
  signHead,
  witnessClaim,
  type Contract,
  type Genesis,
  type HeadProof,
  type Member,
  type MemberClaim,
  type OwnerSet,
  type SignedHead,
} from '@moat/contract';

/** A key pair made from its name; any Ed25519 key can sign as owner, node or invite. */
export interface Identity {
  readonly key: OwnerKey;
  readonly peer: PeerId;
  readonly signer: Signer;
}

export function identity(name: string): Identity {
  const { key, signer } = createInvite(createHash('sha256').update(name).digest());
  return { key, signer, peer: peerIdFromPublicKey(signer.publicKey) };
}

export const ana: Identity = identity('ana');
export const ben: Identity = identity('ben');
export const cleo: Identity = identity('cleo');
export const web1: Identity = identity('web-1');
export const db1: Identity = identity('db-1');
export const laptopInvite: Identity = identity('laptop invite');
export const laptop: Identity = identity('laptop');
export const gateway: Identity = identity('gateway');
export const stranger: Identity = identity('stranger');

export const NOW: number = Date.parse('2026-11-20T10:00:00Z');

/** Two of ana, ben and cleo. */
export const owners: Contract['owners'] = {
  threshold: 2,
  keys: [
    { name: 'ana', key: ana.key, weight: 1 },
    { name: 'ben', key: ben.key, weight: 1 },
    { name: 'cleo', key: cleo.key, weight: 1 },
  ],
};

export const genesis: Genesis = createGenesis(ownerSetOf(owners), new Uint8Array(16).fill(7));
export const deployment: string = deploymentIdOf(genesis);

export const contract: Contract = {
  type: 'moat/contract/1',
  deployment,
  name: 'shop',
  version: 0,
  owners,
  anchors: [`/dns4/gw.example.com/tcp/4410/p2p/${gateway.peer}`],
  network: { ipv4: '10.77.0.0/16', plane: 'auto' },
  members: [
    { name: 'web-1', node: web1.peer, ipv4: '10.77.0.2', tags: ['web'], keeper: true },
    { name: 'db-1', node: db1.peer, ipv4: '10.77.0.3', tags: [] },
    {
      name: 'laptop',
      invite: { key: laptopInvite.key, expires: '2026-11-20T11:00:00Z' },
      ipv4: '10.77.0.4',
      tags: ['web'],
      expires: '2026-12-20T00:00:00Z',
    },
    { name: 'spare', ipv4: '10.77.0.5', tags: [] },
  ],
  services: [
    { name: 'web', on: ['tag:web'], port: 80, target: '127.0.0.1:3000', protocol: 'http', health: '/healthz' },
    { name: 'db', on: ['db-1'], port: 5432, target: '127.0.0.1:5432', protocol: 'tcp' },
  ],
  access: [
    { from: ['tag:web'], to: ['db'], expires: '2026-11-21T00:00:00Z' },
    { from: ['laptop'], to: ['web'] },
  ],
  publish: [
    {
      name: 'shop',
      salt: toBase64url(new Uint8Array(16).fill(1)),
      service: 'web',
      tls: 'terminate',
      gateway: { domain: 'apps.example.com', peers: [`/dns4/apps.example.com/tcp/4410/p2p/${gateway.peer}`] },
    },
  ],
  state: 'active',
};

export function signed(of: Contract, previous: SignedHead | null, by: readonly Identity[] = [ana, ben]): SignedHead {
  const head = headOf(of, previous === null ? null : headHash(previous.head));
  return { head, signatures: by.map(({ signer }) => signHead(head, signer)) };
}

/** A version of the fixture, its head and the proof of it. */
export interface Version {
  readonly contract: Contract;
  readonly head: SignedHead['head'];
  readonly signed: SignedHead;
  readonly proof: HeadProof;
}

export function firstVersion(changes: Partial<Contract> = {}): Version {
  const of = { ...contract, ...changes };
  const head = signed(of, null);
  return { contract: of, head: head.head, signed: head, proof: extendProof(null, genesis, head, of.owners) };
}

export function nextVersion(
  before: Version,
  changes: Partial<Contract> = {},
  by: readonly Identity[] = [ana, ben],
): Version {
  const of = { ...before.contract, ...changes, version: before.contract.version + 1 };
  const head = signed(of, before.signed, by);
  return { contract: of, head: head.head, signed: head, proof: extendProof(before.proof, genesis, head, of.owners) };
}

/** The members with one field left out of each. */
export function without(members: Contract['members'], field: 'keeper' | 'node' | 'invite'): Contract['members'] {
  return members.map((member) => {
    const copy: Record<string, unknown> = { ...member };
    delete copy[field];
    return copy as unknown as Member;
  });
}

/** Replaces ana, ben and cleo by these, all with weight 1. */
export function ownedBy(threshold: number, keys: Readonly<Record<string, Identity>>): Contract['owners'] {
  return { threshold, keys: Object.entries(keys).map(([name, { key }]) => ({ name, key, weight: 1 })) };
}

export function ownerSet(threshold: number, weights: readonly (readonly [Identity, number])[]): OwnerSet {
  return ownerSetOf({ threshold, keys: weights.map(([{ key }, weight]) => ({ key, weight })) });
}

/** The claim of `node` on the laptop's place, witnessed by web-1. */
export function laptopClaim(node: Identity = laptop, changes: ClaimChanges = {}): MemberClaim {
  const details = { nonce: toBase64url(new Uint8Array(16).fill(3)), member: 'laptop', wireguard: null };
  const own = { ...details, ...changes.details };
  const request = {
    deployment,
    details: own,
    nodeSigner: node.signer,
    inviteSigner: (changes.invite ?? laptopInvite).signer,
  };
  const witnessed = witnessClaim(createClaim(request), changes.timeMs ?? NOW, (changes.keeper ?? web1).signer);
  return { ...witnessed, details: own };
}

interface ClaimChanges {
  readonly details?: Partial<MemberClaim['details']>;
  readonly invite?: Identity;
  readonly timeMs?: number;
  readonly keeper?: Identity;
}
