/**
 * Every deployment of this machine: what is accepted, by which rule. Acceptance is checked and committed in one
 * turn of the event loop, so two peers that offer at once cannot both pass the same pin.
 */
import { MoatError, errorCode, isMoatError, type DeploymentId, type Hash, type Logger, type PeerId } from '@moat/core';
import {
  checkNextVersion,
  checkProvenVersion,
  claimedMember,
  compareHeads,
  compareProof,
  deploymentIdOf,
  extendProof,
  headHash,
  parseContract,
  parseTime,
  verifyMemberClaim,
  verifyProof,
  type Contract,
  type Genesis,
  type HeadProof,
  type MemberClaim,
  type SignedHead,
  type VerifiedProof,
} from '@moat/contract';
import type { HeadName, ProofOutcome, Pull } from '@moat/overlay';
import type { EventFeed } from '../event-feed.ts';
import type { LocalTime } from '../local-time.ts';
import { plainText } from '../remote-text.ts';
import type { DeploymentStore } from '../store/deployment-store.ts';
import { tellAlarms } from './alarms.ts';
import { Deployment } from './deployment.ts';
import { ForkIntake, endsFork, forked, mayLeaveFor } from './fork-intake.ts';

/** What the rest has to follow up on; all of it is on disk. */
export interface Change {
  readonly deployment: DeploymentId;
  readonly kind: 'version' | 'claim' | 'fork' | 'expiry' | 'freshness' | 'forgotten';
  /** The new ones, of kind `claim`. */
  readonly claims?: readonly MemberClaim[];
  /** Who offered it, unasked: then the overlay has told everyone else. Absent for what is new here. */
  readonly from?: PeerId;
}

export interface DeploymentsDeps {
  readonly self: PeerId;
  readonly store: DeploymentStore;
  /** Runs work in one transaction. */
  readonly write: <T>(work: () => T) => T;
  readonly time: LocalTime;
  readonly logger: Logger;
  readonly feed: EventFeed;
  /** Called after each commit, in the same turn. */
  readonly onChange: (change: Change) => void;
  /** The disk did not take a peer's news: it has to be asked for again. */
  readonly onUnkept: (deployment: DeploymentId) => void;
  /** A peer showed, on its own connection, that it holds the head that we hold. */
  readonly onSameHead?: (deployment: Deployment, peer: PeerId) => void;
}

/** What joining brings home, verified by {@link Deployments.adopt} as far as a contract goes. */
export interface Adoption {
  readonly proof: HeadProof;
  readonly contract: Contract;
  readonly claims: readonly MemberClaim[];
  /**
   * The operator brought a token that is newer than what is held: a machine left on a wrong branch of a fork goes
   * over to the one that the token names.
   */
  readonly isOtherBranch?: boolean;
}

/** A deployment that a locator was given for. */
export interface Expectation {
  /** Throws to refuse. */
  readonly check: (proof: HeadProof, from: PeerId) => void;
  /** As {@link Adoption.isOtherBranch}. */
  readonly isOtherBranch: boolean;
}

/** A peer that knows no deltas, and one that came out wrong, of a damaged contract for one: the whole may still be taken. */
const NO_DELTA: ReadonlySet<string> = new Set(['STREAM_ENDED', 'CONTRACT_INVALID', 'HEAD_MISMATCH']);

export class Deployments {
  readonly #deps: DeploymentsDeps;
  readonly #byId = new Map<DeploymentId, Deployment>();
  /** Deployments a locator was given for: their proofs are taken from members although nothing is held yet. */
  readonly #expected = new Map<DeploymentId, Expectation>();

  readonly #forks: ForkIntake;

  constructor(deps: DeploymentsDeps) {
    this.#deps = deps;
    this.#forks = new ForkIntake({
      ...deps,
      get: (id) => this.#byId.get(id),
      report: (from, proof, message) => this.#report(from, proof, 'HEAD_FORKED', message),
    });
  }

  /** Takes what is on disk. */
  load(): void {
    const { store, self, time } = this.#deps;
    for (const stored of store.load()) this.#byId.set(stored.id, new Deployment(stored, self, time.now()));
  }

  list(): readonly Deployment[] {
    return [...this.#byId.values()];
  }

  get(id: DeploymentId): Deployment | undefined {
    return this.#byId.get(id);
  }

  /** By id, or by a name that only one here has. @throws `DEPLOYMENT_UNKNOWN`, `DEPLOYMENT_AMBIGUOUS` */
  find(reference: string): Deployment {
    const byId = this.#byId.get(reference);
    if (byId !== undefined) return byId;
    const [first, second] = this.list().filter(({ contract }) => contract.name === reference);
    if (first === undefined) {
      throw new MoatError('DEPLOYMENT_UNKNOWN', `this machine holds no deployment ${reference.slice(0, 64)}`, {
        next: ['moat status', 'moat join TOKEN-FILE'],
      });
    }
    if (second === undefined) return first;
    throw new MoatError('DEPLOYMENT_AMBIGUOUS', `several deployments here are named ${reference}`, {
      next: this.list()
        .filter(({ contract }) => contract.name === reference)
        .map(({ id }) => `name it by its id: ${id}`),
    });
  }

  /**
   * Takes version 0 of a new deployment; true unless it is held already.
   * @throws `DEPLOYMENT_EXISTS`, the codes of `checkNextVersion`, `DISK_FULL`
   */
  create(genesis: Genesis, contract: Contract, signed: SignedHead): boolean {
    const held = this.#byId.get(deploymentIdOf(genesis));
    if (held !== undefined) {
      if (headHash(signed.head) === held.head) return false;
      throw new MoatError(
        'DEPLOYMENT_EXISTS',
        `${held.contract.name} is held here in version ${held.contract.version}`,
      );
    }
    checkNextVersion(null, genesis, { contract, signed });
    this.#commit(extendProof(null, genesis, signed, contract.owners), contract);
    return true;
  }

  /**
   * Takes what is verified against its own proof alone: what a keeper gave a machine that joins, the next version of an
   * owner. Claims that do not hold are left out.
   * @throws the codes of `checkProvenVersion`, `DISK_FULL`
   */
  adopt(from: PeerId, { proof, contract, claims, isOtherBranch = false }: Adoption): Deployment {
    const held = this.#byId.get(proof.newest.head.deployment);
    const leaves = isOtherBranch && held !== undefined && mayLeaveFor(proof, held);
    const order = checkProvenVersion(leaves ? null : (held ?? null), proof, contract);
    if (!leaves && order !== 'same' && held?.forked === true && !endsFork(proof, held)) throw forked(held);
    const deployment = order === 'same' && held !== undefined ? held : this.#commit(proof, contract, undefined, leaves);
    const taken = this.#takeClaims(from, deployment, claims);
    if (taken.length > 0) this.#claimsTaken(deployment, taken);
    this.headShown(from, deployment.id, headHash(proof.newest.head));
    return deployment;
  }

  /** A peer says on its own connection which head it holds. */
  headShown(from: PeerId, id: DeploymentId, head: Hash): void {
    const deployment = this.#byId.get(id);
    if (deployment?.head !== head) return;
    deployment.takeConfirmation(from);
    this.#deps.onSameHead?.(deployment, from);
  }

  /** A peer's proof; never rejects for hostile input. */
  async offerProof(from: PeerId, proof: HeadProof, pull: Pull): Promise<ProofOutcome> {
    const outcome = await this.#offerProof(from, proof, pull);
    if (outcome === 'same' || outcome === 'accepted') {
      const { head } = proof.newest;
      this.headShown(from, head.deployment, headHash(head));
    }
    return outcome;
  }

  async #offerProof(from: PeerId, proof: HeadProof, pull: Pull): Promise<ProofOutcome> {
    const { head } = proof.newest;
    const held = this.#byId.get(head.deployment);
    const welcome = this.#expected.get(head.deployment);
    if (held === undefined && welcome === undefined) return 'refused';
    // It was verified when it was taken.
    if (welcome === undefined && held?.head === headHash(head)) return 'same';
    try {
      const verified = verifyProof(proof);
      welcome?.check(proof, from);
      const order = compareProof(held?.proof ?? null, proof);
      if (order === 'same') return 'same';
      if (order === 'older') {
        this.#report(from, proof, 'VERSION_OLD', `a head below the pinned version was shown`);
        return 'older';
      }
      if (held !== undefined && welcome?.isOtherBranch === true && mayLeaveFor(proof, held)) {
        this.adopt(from, { proof, contract: parseContract(await pull()), claims: [], isOtherBranch: true });
        return 'accepted';
      }
      if (order === 'usurped') throw new MoatError('HEAD_FORGED', 'signed by owners who were replaced before it');
      if (held !== undefined && order === 'fork') return await this.#forks.offer(from, held, proof, pull);
      if (held?.forked === true && !endsFork(proof, held)) throw forked(held);
      const take = async (since?: HeadName, base?: Contract): Promise<ProofOutcome> =>
        this.#takeProof(from, proof, verified, parseContract(await pull(since), base));
      if (held === undefined) return await take();
      try {
        return await take({ version: held.contract.version, head: held.head }, held.contract);
      } catch (error) {
        if (!NO_DELTA.has(errorCode(error))) throw error;
        return await take();
      }
    } catch (error) {
      this.#refuse(from, proof, error);
      return 'refused';
    }
  }

  /** Witnessed claims of one deployment that a peer shows at once; the new ones. Never throws for hostile input. */
  offerClaims(from: PeerId, id: DeploymentId, claims: readonly MemberClaim[]): readonly MemberClaim[] {
    const deployment = this.#byId.get(id);
    if (deployment === undefined) return [];
    try {
      const taken = this.#takeClaims(from, deployment, claims);
      // Once for all of them: a large network takes 0.1 s to be looked through.
      if (taken.length > 0) this.#claimsTaken(deployment, taken, from);
      return taken;
    } catch (error) {
      this.#claimRefused(from, deployment, error);
      return [];
    }
  }

  /** A keeper's own witness: remembered on disk, then in force. @throws `DISK_FULL` */
  recordWitnessed(deployment: Deployment, claim: MemberClaim): void {
    const { store, write } = this.#deps;
    const { invite } = claim.claim;
    write(() => {
      if (invite !== null) store.saveWitnessed(invite, claim);
      this.#saveClaims(deployment, [claim]);
    });
    this.#claimsTaken(deployment, [claim]);
  }

  /** Lets a deployment in that is not held yet, or only on a wrong branch, while a locator waits for it. */
  expect(id: DeploymentId, expectation: Expectation): Disposable {
    this.#expected.set(id, expectation);
    return { [Symbol.dispose]: () => void this.#expected.delete(id) };
  }

  expects(id: DeploymentId): boolean {
    return this.#expected.has(id);
  }

  /** Judges places and grants anew, as of now. */
  refresh(deployment: Deployment): void {
    deployment.rebuild(this.#deps.time.now());
    this.#deps.onChange({ deployment: deployment.id, kind: 'expiry' });
  }

  /** Leaves a deployment and deletes what is stored of it. @throws `DISK_FULL` */
  forget(deployment: Deployment): void {
    this.#deps.store.forget(deployment.id);
    this.#byId.delete(deployment.id);
    this.#deps.onChange({ deployment: deployment.id, kind: 'forgotten' });
  }

  /** Compares with the pin again: others may have been accepted while the contract was pulled. */
  #takeProof(from: PeerId, proof: HeadProof, verified: VerifiedProof, contract: Contract): ProofOutcome {
    const held = this.#byId.get(proof.newest.head.deployment);
    if (held?.forked === true && !endsFork(proof, held)) throw forked(held);
    if (held !== undefined) {
      const order = compareHeads(held.proof.newest, proof.newest);
      if (order === 'same' || order === 'older') return order;
    }
    const order = checkProvenVersion(held ?? null, proof, contract, verified);
    if (order === 'same') return 'same';
    this.#commit(proof, contract, from);
    return 'accepted';
  }

  #commit(proof: HeadProof, contract: Contract, from?: PeerId, isOtherBranch = false): Deployment {
    const { store, time, self, logger, feed } = this.#deps;
    const acceptedAt = time.now();
    store.saveVersion(proof, contract, acceptedAt, isOtherBranch);
    let deployment = this.#byId.get(contract.deployment);
    if (deployment === undefined) {
      const age = { ageMs: 0, at: acceptedAt };
      const stored = { id: contract.deployment, proof, contract, acceptedAt, claims: [], forks: [], age };
      deployment = new Deployment(stored, self, time.now());
      this.#byId.set(deployment.id, deployment);
    } else {
      const before = deployment.alarms;
      deployment.takeVersion(proof, contract, acceptedAt, time.now());
      tellAlarms(feed, deployment, before);
    }
    logger.info(
      { component: 'node.deployments', deployment: deployment.id, version: contract.version, head: deployment.head },
      'version accepted',
    );
    this.#deps.onChange({ deployment: deployment.id, kind: 'version', ...(from === undefined ? {} : { from }) });
    return deployment;
  }

  /** The new ones, on disk, in one commit: a large deployment has hundreds. @throws `DISK_FULL` */
  #takeClaims(from: PeerId, deployment: Deployment, claims: readonly MemberClaim[]): readonly MemberClaim[] {
    const book = deployment.book.copy();
    const taken = claims.filter((claim) => {
      const { contract, proven } = deployment;
      if (claimedMember(contract, claim.claim, claim.details) === undefined || !book.takes(claim)) return false;
      try {
        verifyMemberClaim(contract, claim, this.#deps.time.unadjusted, proven);
      } catch (error) {
        this.#claimRefused(from, deployment, error);
        return false;
      }
      book.put(claim);
      return true;
    });
    if (taken.length === 0) return taken;
    const { write, time } = this.#deps;
    write(() => {
      this.#saveClaims(deployment, taken);
      // Of others only: what we witnessed ourselves says no more than our own clock, which may have run ahead.
      for (const { witness } of taken) time.verified(parseTime(witness.time));
    });
    return taken;
  }

  #saveClaims(deployment: Deployment, claims: readonly MemberClaim[]): void {
    const book = deployment.book.copy();
    for (const claim of claims) this.#deps.store.saveClaim(claim, book.put(claim));
  }

  #claimsTaken(deployment: Deployment, claims: readonly MemberClaim[], from?: PeerId): void {
    const { time, logger, feed, onChange } = this.#deps;
    const before = deployment.alarms;
    deployment.takeClaims(claims, time.now());
    tellAlarms(feed, deployment, before);
    const { id } = deployment;
    for (const { claim, details } of claims) {
      logger.info(
        { component: 'node.deployments', deployment: id, member: details.member, peer: claim.node },
        'place claimed',
      );
      feed.emit({ kind: 'claim', deployment: id, member: details.member, peer: claim.node });
    }
    onChange({ deployment: id, kind: 'claim', claims, ...(from === undefined ? {} : { from }) });
  }

  #claimRefused(peer: PeerId, { id }: Deployment, error: unknown): void {
    this.#deps.logger.warn(
      { component: 'node.claims', peer, deployment: id, code: errorCode(error), err: error },
      'claim refused',
    );
    this.#askAgain(id, errorCode(error));
  }

  #askAgain(id: DeploymentId, code: string): void {
    if (code === 'DISK_FULL' || code === 'DISK_FAILED') this.#deps.onUnkept(id);
  }

  #refuse(from: PeerId, proof: HeadProof, error: unknown): void {
    const { head } = proof.newest;
    const deployment = this.#byId.get(head.deployment);
    const code = errorCode(error);
    // What does not fit a contract is quoted, and a peer wrote it.
    const message = isMoatError(error) ? plainText(error.message) : 'the version could not be taken';
    this.#report(from, proof, code, message, error);
    if (deployment === undefined) return;
    this.#askAgain(deployment.id, code);
    if (code === 'CONTRACT_TOO_NEW' || code === 'CONTRACT_INVALID' || code === 'ADDRESS_INVALID') {
      deployment.refusal = { code, message: `version ${head.version} is not in force here: ${message}` };
    }
  }

  #report(from: PeerId, proof: HeadProof, code: string, message: string, error?: unknown): void {
    const { deployment, version } = proof.newest.head;
    const fields = { component: 'node.deployments', peer: from, deployment, version, code };
    this.#deps.logger.warn(error === undefined ? fields : { ...fields, err: error }, 'version refused');
    this.#deps.feed.emit({ kind: 'version', deployment, version, result: 'refused', error: { code, message } });
  }
}
