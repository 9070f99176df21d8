/** Deployments that publish at a gateway: one owner, a keeper `web-1`, and a laptop that joins by invite. */
import { createHash } from 'node:crypto';
import { peerIdFromPublicKey, toBase64url, type DeploymentId, type PeerId, type Signer } from '@moat/core';
import {
  bundleFor,
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
  type MemberClaim,
  type PublicationBundle,
  type PublishLine,
} from '@moat/contract';

/** Keys made from a name, so that a test can make them again. */
export interface Identity {
  readonly key: string;
  readonly peer: PeerId;
  readonly signer: Signer;
}

export function identity(name: string): Identity {
  const { key, signer } = createInvite(createHash('sha256').update(name).digest());
  return { key, signer, peer: peerIdFromPublicKey(signer.publicKey) };
}

export const NOW: number = Date.parse('2026-11-20T10:00:00Z');
export const GATEWAY: Identity = identity('gateway');

export interface ShopVersion {
  readonly contract: Contract;
  readonly proof: HeadProof;
}

export interface ShopOptions {
  /** Node key of `web-1`. */
  readonly web1?: Identity;
  readonly gateway?: PeerId;
  readonly publish?: readonly string[];
}

/** One deployment; every name decides another one. */
export class Shop {
  readonly owner: Identity;
  readonly web1: Identity;
  readonly laptop: Identity;
  readonly invite: Identity;
  readonly genesis: Genesis;
  readonly deployment: DeploymentId;
  readonly first: ShopVersion;
  readonly #gateway: PeerId;

  constructor(name: string, options: ShopOptions = {}) {
    this.owner = identity(`${name} owner`);
    this.web1 = options.web1 ?? identity(`${name} web-1`);
    this.laptop = identity(`${name} laptop`);
    this.invite = identity(`${name} invite`);
    this.#gateway = options.gateway ?? GATEWAY.peer;
    const owners: Contract['owners'] = { threshold: 1, keys: [{ name: 'ana', key: this.owner.key, weight: 1 }] };
    this.genesis = createGenesis(ownerSetOf(owners), new Uint8Array(16).fill(7));
    this.deployment = deploymentIdOf(this.genesis);
    this.first = this.#sign(
      {
        type: 'moat/contract/1',
        deployment: this.deployment,
        name: 'shop',
        version: 0,
        owners,
        anchors: [],
        network: { ipv4: '10.77.0.0/16', plane: 'rootless' },
        members: [
          { name: 'web-1', node: this.web1.peer, ipv4: '10.77.0.2', tags: ['web'], keeper: true },
          {
            name: 'laptop',
            invite: { key: this.invite.key, expires: '2026-11-20T11:00:00Z' },
            ipv4: '10.77.0.4',
            tags: ['web'],
          },
        ],
        services: [{ name: 'web', on: ['tag:web'], port: 80, target: '127.0.0.1:3000', protocol: 'http' }],
        access: [],
        publish: (options.publish ?? ['shop']).map((line) => this.line(line)),
        state: 'active',
      },
      undefined,
    );
  }

  line(name: string, changes: Partial<PublishLine> = {}): PublishLine {
    return {
      name,
      salt: toBase64url(createHash('sha256').update(name).digest().subarray(0, 16)),
      service: 'web',
      tls: 'terminate',
      gateway: { domain: 'localhost', peers: [`/ip4/127.0.0.1/tcp/4410/p2p/${this.#gateway}`] },
      ...changes,
    };
  }

  next(before: ShopVersion, changes: Partial<Contract>): ShopVersion {
    return this.#sign({ ...before.contract, ...changes, version: before.contract.version + 1 }, before);
  }

  publishing(before: ShopVersion, names: readonly string[]): ShopVersion {
    return this.next(before, { publish: names.map((name) => this.line(name)) });
  }

  bundle(version: ShopVersion, claims: readonly MemberClaim[] = []): PublicationBundle {
    return bundleFor(version.proof, version.contract, claims, this.#gateway);
  }

  /** The laptop's claim on its place, witnessed by the keeper. */
  claim(by: Identity = this.laptop, nonce: number = 3): MemberClaim {
    const details = { nonce: toBase64url(new Uint8Array(16).fill(nonce)), member: 'laptop', wireguard: null };
    const request = { deployment: this.deployment, details, nodeSigner: by.signer, inviteSigner: this.invite.signer };
    return { ...witnessClaim(createClaim(request), NOW, this.web1.signer), details };
  }

  #sign(contract: Contract, before: ShopVersion | undefined): ShopVersion {
    const head = headOf(contract, before === undefined ? null : headHash(before.proof.newest.head));
    const signed = { head, signatures: [signHead(head, this.owner.signer)] };
    return { contract, proof: extendProof(before?.proof ?? null, this.genesis, signed, contract.owners) };
  }
}
