/** The keeper's side of joining: who may take a vacant place, once. */
import { isMoatError, type Logger, type PeerId, type Signer } from '@moat/core';
import {
  contractBytes,
  claimedMember,
  hashClaim,
  parseTime,
  verifyClaim,
  witnessClaim,
  type MemberClaim,
} from '@moat/contract';
import type { JoinAnswer, JoinRequest } from '@moat/overlay';
import type { LocalTime } from '../local-time.ts';
import type { DeploymentStore } from '../store/deployment-store.ts';
import type { ShownClaim } from './claim-book.ts';
import type { Deployment } from './deployment.ts';
import type { Deployments } from './deployments.ts';

export interface KeeperDeps {
  readonly self: PeerId;
  readonly signer: Signer;
  readonly deployments: Deployments;
  readonly store: DeploymentStore;
  readonly time: LocalTime;
  readonly logger: Logger;
}

/** A pinned machine may change its claim, e.g. for a new WireGuard key; everybody hears of each change. */
const REPLACE_AFTER_MS = 60_000;

/** One answer for unknown deployments, invites and machines, so that nobody can test what we know. */
const REFUSED: JoinAnswer = {
  ok: false,
  code: 'JOIN_REFUSED',
  message: 'this keeper knows no such deployment, invite or machine',
};

export class Keeper {
  readonly #deps: KeeperDeps;

  constructor(deps: KeeperDeps) {
    this.#deps = deps;
  }

  /**
   * Answers a claim: countersigns the first one on an invite, remembered on disk before the answer leaves; an
   * identical retry gets the same answer while its machine has the place, another claim `INVITE_USED`. A pinned machine may replace its claim, once
   * a minute; one that holds another place gets `PLACE_TAKEN`. Runs in one turn.
   * @throws `DISK_FULL`
   */
  witness({ signed, details }: JoinRequest, from: PeerId): JoinAnswer {
    const { claim } = signed;
    try {
      // First, whatever we know: the answer to a stranger takes the same time.
      verifyClaim(signed, details);
    } catch (error) {
      if (isMoatError(error)) return REFUSED;
      throw error;
    }
    const deployment = this.#deps.deployments.get(claim.deployment);
    if (deployment === undefined || claim.node !== from) return REFUSED;
    const place = deployment.place;
    if (place === undefined || !place.keeper || place.state !== 'pinned') return REFUSED;
    const answer = this.#decide(deployment, { signed, details });
    this.#deps.logger.info(
      {
        component: 'node.keeper',
        peer: from,
        deployment: deployment.id,
        member: details.member,
        ...(answer.ok ? {} : { code: answer.code }),
      },
      answer.ok ? 'claim witnessed' : 'claim refused',
    );
    return answer;
  }

  #decide(deployment: Deployment, { signed, details }: JoinRequest): JoinAnswer {
    const { claim } = signed;
    const hash = hashClaim(claim);
    const earlier = this.#earlier(deployment, { claim, details });
    const same = earlier.find((each) => hashClaim(each.claim) === hash);
    if (same !== undefined) return mayHear(deployment, same) ? answerWith(deployment, same) : REFUSED;
    if (earlier.length > 0 && claim.invite !== null) {
      return { ok: false, code: 'INVITE_USED', message: 'another machine took the place with this invite' };
    }
    const member = claimedMember(deployment.view.contract, claim, details);
    if (member === undefined) return REFUSED;
    const held = deployment.view.memberOf(claim.node);
    if (held !== undefined && held.name !== member.name) {
      return { ok: false, code: 'PLACE_TAKEN', message: `this machine holds ${held.name} already` };
    }
    const now = this.#deps.time.now();
    if (earlier.some(({ witness }) => now < parseTime(witness.time) + REPLACE_AFTER_MS)) return REFUSED;
    const ends = claim.invite === null ? undefined : member.invite?.expires;
    if (ends !== undefined && now >= parseTime(ends)) {
      return { ok: false, code: 'INVITE_EXPIRED', message: `the invite expired at ${ends}` };
    }
    if (member.expires !== undefined && now >= parseTime(member.expires)) {
      return { ok: false, code: 'INVITE_EXPIRED', message: `the membership ended at ${member.expires}` };
    }
    const witnessed: MemberClaim = { ...witnessClaim(signed, now, this.#deps.signer), details };
    this.#deps.deployments.recordWitnessed(deployment, witnessed);
    return answerWith(deployment, witnessed);
  }

  /** Claims for the same that we witnessed, also before the deployment was last forgotten, or heard of. */
  #earlier(deployment: Deployment, shown: ShownClaim): readonly MemberClaim[] {
    const { invite } = shown.claim;
    const own = invite === null ? undefined : this.#deps.store.witnessed(deployment.id, invite);
    return own === undefined ? deployment.book.besides(shown) : [own];
  }
}

/** Once its machine was removed, or its membership ended, a claim that counted tells it no more than a stranger. */
function mayHear({ audience, view }: Deployment, { claim, details }: MemberClaim): boolean {
  if (audience.has(claim.node)) return true;
  // Witnessed before the deployment was forgotten here: the place is its own, and the book does not know yet.
  const place = view.places.get(details.member);
  return claimedMember(view.contract, claim, details) !== undefined && place?.state !== 'expired';
}

function answerWith(deployment: Deployment, claim: MemberClaim): JoinAnswer {
  return {
    ok: true,
    claim,
    proof: deployment.proof,
    contract: contractBytes(deployment.contract),
    claims: deployment.currentClaims,
  };
}
