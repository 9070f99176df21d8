import type { DeploymentId } from '@moat/core';
import type { HeadProof, MemberClaim } from '@moat/contract';
import { MAX_CLAIMS_IN_NEWS, type News } from './news.ts';

/** Claims that may wait for one peer; more are dropped, the next comparison of heads brings them. */
const MAX_WAITING_CLAIMS = 4096;
/** The same for branches of forks. */
const MAX_WAITING_FORKS = 16;

export interface OutboxDeps {
  readonly proof: (deployment: DeploymentId) => HeadProof | undefined;
  /** Asked again right before sending: a peer that a new version removed gets nothing. */
  readonly isEntitled: (deployment: DeploymentId) => boolean;
  /** True when the peer itself showed this head. */
  readonly isShown: (proof: HeadProof) => boolean;
  readonly send: (news: News) => Promise<void>;
  readonly onFailure: (error: unknown) => void;
}

/**
 * News on its way to one peer, one at a time, heads before claims. Of a deployment only the newest head is
 * kept; it is read when it is sent. Bound: one entry a deployment, {@link MAX_WAITING_FORKS} branches and
 * {@link MAX_WAITING_CLAIMS} claims.
 */
export class Outbox {
  readonly #deps: OutboxDeps;
  readonly #heads = new Set<DeploymentId>();
  readonly #forks: { readonly deployment: DeploymentId; readonly proof: HeadProof }[] = [];
  readonly #claims = new Map<DeploymentId, Set<MemberClaim>>();
  #waitingClaims = 0;
  #sending = false;

  constructor(deps: OutboxDeps) {
    this.#deps = deps;
  }

  addHead(deployment: DeploymentId): void {
    this.#heads.add(deployment);
    void this.#run();
  }

  addFork(deployment: DeploymentId, proof: HeadProof): void {
    if (this.#forks.length >= MAX_WAITING_FORKS || this.#forks.some((waiting) => waiting.proof === proof)) return;
    this.#forks.push({ deployment, proof });
    void this.#run();
  }

  addClaim(deployment: DeploymentId, claim: MemberClaim): void {
    if (this.#waitingClaims >= MAX_WAITING_CLAIMS) return;
    const claims = this.#claims.get(deployment) ?? new Set();
    if (!claims.has(claim)) this.#waitingClaims += 1;
    claims.add(claim);
    this.#claims.set(deployment, claims);
    void this.#run();
  }

  async #run(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    try {
      for (let news = this.#next(); news !== undefined; news = this.#next()) {
        if (this.#deps.isEntitled(news.deployment)) await this.#deps.send(news);
      }
    } catch (error) {
      // the peer is gone or slow; the next comparison brings what was lost
      this.#heads.clear();
      this.#forks.length = 0;
      this.#claims.clear();
      this.#waitingClaims = 0;
      this.#deps.onFailure(error);
    } finally {
      this.#sending = false;
    }
  }

  #next(): News | undefined {
    for (const deployment of this.#heads) {
      this.#heads.delete(deployment);
      const proof = this.#deps.proof(deployment);
      if (proof !== undefined && !this.#deps.isShown(proof)) return { deployment, proof, claims: [] };
    }
    const fork = this.#forks.shift();
    if (fork !== undefined) return { ...fork, claims: [] };
    for (const [deployment, waiting] of this.#claims) {
      const claims = [...waiting].slice(0, MAX_CLAIMS_IN_NEWS);
      for (const claim of claims) waiting.delete(claim);
      this.#waitingClaims -= claims.length;
      if (waiting.size === 0) this.#claims.delete(deployment);
      return { deployment, claims };
    }
    return undefined;
  }
}
