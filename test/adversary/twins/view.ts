/** What a twin believes of deployments: whatever it wants. It hears all and checks nothing. */
import type { DeploymentId, PeerId } from '@moat/core';
import { buildView, hashClaim, headHash, type Contract, type HeadProof, type MemberClaim } from '@moat/contract';
import type { DeploymentPeer, DeploymentView, JoinAnswer, JoinRequest, ProofOutcome } from '@moat/overlay';
import type { Version } from '../pen.ts';
import { canonicalBytes } from '@moat/contract';

export interface Held {
  readonly contract: Contract;
  readonly bytes: Uint8Array;
  readonly proof: HeadProof;
}

export class TwinView implements DeploymentView {
  /** Heads it was told, newest last. */
  readonly heard: { readonly from: PeerId; readonly proof: HeadProof }[] = [];
  readonly heardClaims: MemberClaim[] = [];
  onChange: () => void = () => undefined;
  /** Answers joins; the twin itself decides. */
  onJoin: (request: JoinRequest, from: PeerId) => JoinAnswer = () => ({
    ok: false,
    code: 'JOIN_REFUSED',
    message: 'no',
  });
  /** False: what others tell it is heard, never taken. */
  follows = true;
  readonly #held = new Map<DeploymentId, Held>();
  readonly #claims = new Map<DeploymentId, MemberClaim[]>();
  /** PeerIds it greets as members although nothing says so. */
  readonly alsoShared = new Map<PeerId, DeploymentId[]>();

  hold(held: Held, claims: readonly MemberClaim[] = []): void {
    const id = held.contract.deployment;
    this.#held.set(id, held);
    const known = this.#claims.get(id) ?? [];
    const hashes = new Set(known.map(({ claim }) => hashClaim(claim)));
    this.#claims.set(id, [...known, ...claims.filter(({ claim }) => !hashes.has(hashClaim(claim)))]);
    this.onChange();
  }

  holdVersion({ contract, proof }: Version, claims: readonly MemberClaim[] = []): void {
    this.hold({ contract, bytes: canonicalBytes(contract), proof }, claims);
  }

  deployments(): DeploymentId[] {
    return [...this.#held.keys()];
  }

  sharedWith(peer: PeerId): DeploymentId[] {
    const members = this.deployments().filter((id) => this.members(id).some((member) => member.peer === peer));
    return [...new Set([...members, ...(this.alsoShared.get(peer) ?? [])])];
  }

  proof(id: DeploymentId): HeadProof | undefined {
    return this.#held.get(id)?.proof;
  }

  ownClaim(): MemberClaim | undefined {
    return undefined;
  }

  claims(id: DeploymentId): readonly MemberClaim[] {
    return this.#claims.get(id) ?? [];
  }

  contract(id: DeploymentId, version: number): Uint8Array | undefined {
    const held = this.#held.get(id);
    return held?.contract.version === version ? held.bytes : undefined;
  }

  async acceptProof(from: PeerId, proof: HeadProof, pull: () => Promise<Uint8Array>): Promise<ProofOutcome> {
    this.heard.push({ from, proof });
    const { deployment, version } = proof.newest.head;
    const held = this.#held.get(deployment);
    if (held !== undefined && headHash(held.proof.newest.head) === headHash(proof.newest.head)) return 'same';
    if (!this.follows) return 'refused';
    if (held !== undefined && held.contract.version >= version) return 'older';
    try {
      const bytes = await pull();
      const contract = JSON.parse(Buffer.from(bytes).toString()) as Contract;
      this.hold({ contract, bytes, proof });
      return 'accepted';
    } catch {
      return 'refused';
    }
  }

  async acceptClaims(_from: PeerId, id: DeploymentId, claims: readonly MemberClaim[]): Promise<readonly MemberClaim[]> {
    return claims.filter((claim) => {
      this.heardClaims.push(claim);
      if (this.claims(id).some((known) => hashClaim(known.claim) === hashClaim(claim.claim))) return false;
      this.#claims.set(id, [...this.claims(id), claim]);
      return true;
    });
  }

  async witness(request: JoinRequest, from: PeerId): Promise<JoinAnswer> {
    return this.onJoin(request, from);
  }

  members(id: DeploymentId): readonly DeploymentPeer[] {
    const held = this.#held.get(id);
    if (held === undefined) return [];
    const { places } = buildView(held.contract, [...this.claims(id)], Date.now());
    return [...places.values()].flatMap(({ peer, keeper }) => (peer === null ? [] : [{ peer, keeper }]));
  }

  anchors(id: DeploymentId): readonly string[] {
    return this.#held.get(id)?.contract.anchors ?? [];
  }
}
