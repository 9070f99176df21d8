/** A deployment written by one owner key, version after version, with claims on its invites. */
import { randomBytes } from 'node:crypto';
import { formatKey, toBase64url, type OwnerKey } from '@moat/core';
import {
  createClaim,
  createGenesis,
  createInvite,
  deploymentIdOf,
  extendProof,
  headHash,
  headOf,
  mergedBranch,
  mergingHead,
  mergingVersion,
  ownerSetOf,
  parseContract,
  signHead,
  witnessClaim,
  type Contract,
  type Genesis,
  type HeadProof,
  type InviteKey,
  type MemberClaim,
} from '@moat/contract';
import { createNodeKey, createOwnerKey, type NodeKey, type OwnerKeyPair } from '@moat/identity';

export interface Version {
  readonly proof: HeadProof;
  readonly contract: Contract;
}

export class Chain {
  readonly keeper: NodeKey;
  readonly owner = createOwnerKey();
  readonly genesis: Genesis;
  readonly invite: InviteKey = createInvite(randomBytes(32));
  proof: HeadProof | null = null;
  contract: Contract | null = null;

  constructor(keeper: NodeKey) {
    this.keeper = keeper;
    this.genesis = createGenesis(ownerSetOf(this.owners), randomBytes(16));
  }

  get owners(): Contract['owners'] {
    return { threshold: 1, keys: [{ name: 'ana', key: this.owner.key, weight: 1 }] };
  }

  get head(): string {
    return this.proof === null ? '' : headHash(this.proof.newest.head);
  }

  /** The next version, signed; `keep: false` leaves the chain where it is, so that another can follow too. */
  next(
    changes: Partial<Contract> = {},
    { keep = true, owner = this.owner }: { readonly keep?: boolean; readonly owner?: OwnerKeyPair } = {},
  ): Version {
    const contract = parseContract({
      type: 'moat/contract/1',
      deployment: deploymentIdOf(this.genesis),
      name: 'shop',
      owners: this.owners,
      anchors: [],
      network: { ipv4: '10.77.0.0/16', plane: 'rootless' },
      members: [
        { name: 'home', node: this.keeper.peerId, ipv4: '10.77.0.2', tags: [], keeper: true },
        {
          name: 'laptop',
          invite: { key: this.invite.key, expires: '2099-01-01T00:00:00Z' },
          ipv4: '10.77.0.3',
          tags: [],
        },
      ],
      services: [],
      access: [],
      publish: [],
      state: 'active',
      ...changes,
      version: this.contract === null ? 0 : this.contract.version + 1,
    });
    const head = headOf(contract, this.proof === null ? null : this.head);
    const signed = { head, signatures: [signHead(head, owner.signer)] };
    const proof = extendProof(this.proof, this.genesis, signed, contract.owners);
    if (keep) [this.proof, this.contract] = [proof, contract];
    return { proof, contract };
  }

  /** The version that ends a fork, following `ours`; the chain goes on from it. */
  merge(ours: Version, theirs: Version): Version {
    const contract = parseContract({ ...ours.contract, version: mergingVersion(ours.proof, theirs.proof) });
    const head = mergingHead(contract, ours.proof, theirs.proof);
    const signed = { head, signatures: [signHead(head, this.owner.signer)] };
    const merged = mergedBranch(ours.proof, theirs.proof);
    [this.proof, this.contract] = [extendProof(ours.proof, this.genesis, signed, contract.owners, merged), contract];
    return { proof: this.proof, contract };
  }

  /** A witnessed claim of a new machine, on a new invite unless it is for the laptop. */
  claim(invite: InviteKey = createInvite(randomBytes(32))): {
    readonly claim: MemberClaim;
    readonly invite: OwnerKey;
    readonly key: NodeKey;
  } {
    const key = createNodeKey();
    const details = { nonce: toBase64url(randomBytes(16)), member: 'laptop', wireguard: null };
    const signed = createClaim({
      deployment: deploymentIdOf(this.genesis),
      details,
      nodeSigner: key.signer,
      inviteSigner: invite.signer,
    });
    const claim = { ...witnessClaim(signed, Date.now(), this.keeper.signer), details };
    return { claim, invite: formatKey('ed25519', invite.signer.publicKey), key };
  }
}
