/**
 * Tells the others which WireGuard key a pinned place has: the machine signs a claim without an invite, a keeper
 * witnesses it, and the owners' next version carries the key.
 */
import { randomBytes } from 'node:crypto';
import {
  MoatError,
  errorCode,
  toBase64url,
  type Clock,
  type DeploymentId,
  type Logger,
  type PeerId,
  type Signer,
  type Timer,
} from '@moat/core';
import { createClaim, type MemberClaim, type Place } from '@moat/contract';
import type { JoinAnswer, JoinRequest } from '@moat/overlay';
import { deadline } from '../deadline.ts';
import type { Deployment } from '../deployments/deployment.ts';
import { plainText } from '../remote-text.ts';
import type { PlaceKeys } from './place-keys.ts';

const ASK_MS = 20_000;
/** A keeper takes one claim a minute of a machine: asked again no earlier. Milliseconds. */
const AGAIN_MS = 61_000;
/** Milliseconds until keepers that were away are asked again. */
const AWAY_MS = 5_000;

export interface KeyClaimsDeps {
  readonly self: PeerId;
  readonly signer: Signer;
  readonly keys: PlaceKeys;
  readonly deployment: (id: DeploymentId) => Deployment | undefined;
  /** This machine as a keeper. */
  readonly witness: (request: JoinRequest) => JoinAnswer;
  /** Addresses of keepers with `/p2p/`, also relayed ones. */
  readonly keepers: (deployment: Deployment) => readonly string[];
  readonly ask: (keepers: readonly string[], request: JoinRequest, signal: AbortSignal) => Promise<JoinAnswer>;
  readonly take: (from: PeerId, id: DeploymentId, claims: readonly MemberClaim[]) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Bound: one attempt and one timer a deployment that is watched. */
export class KeyClaims {
  readonly #deps: KeyClaimsDeps;
  readonly #watched = new Map<DeploymentId, Timer | undefined>();
  readonly #asking = new Set<DeploymentId>();
  readonly #stopped = new AbortController();

  constructor(deps: KeyClaimsDeps) {
    this.#deps = deps;
  }

  /** Sees to it from now on that the place's key is told; resolves after the first attempt. */
  async watch(id: DeploymentId): Promise<void> {
    if (!this.#watched.has(id)) this.#watched.set(id, undefined);
    await this.#look(id);
  }

  /** To call after every change of a deployment. */
  changed(id: DeploymentId): void {
    if (this.#watched.has(id)) void this.#look(id);
  }

  forget(id: DeploymentId): void {
    this.#watched.get(id)?.cancel();
    this.#watched.delete(id);
  }

  stop(): void {
    this.#stopped.abort(new MoatError('AGENT_STOPPING', 'the agent is going down', { retryable: true }));
    for (const id of this.#watched.keys()) this.forget(id);
  }

  async #look(id: DeploymentId): Promise<void> {
    if (this.#asking.has(id) || this.#stopped.signal.aborted) return;
    this.#asking.add(id);
    try {
      const waitMs = await this.#tell(id);
      if (waitMs !== undefined) this.#lookAgain(id, waitMs);
    } catch (error) {
      const fields = { component: 'node.wireguard', deployment: id, code: errorCode(error), err: error };
      this.#deps.logger.warn(fields, 'WireGuard key not told');
      this.#lookAgain(id, errorCode(error) === 'JOIN_REFUSED' ? AGAIN_MS : AWAY_MS);
    } finally {
      this.#asking.delete(id);
    }
  }

  #lookAgain(id: DeploymentId, waitMs: number): void {
    if (!this.#watched.has(id) || this.#stopped.signal.aborted) return;
    this.#watched.get(id)?.cancel();
    this.#watched.set(
      id,
      this.#deps.clock.after(waitMs, () => void this.#look(id)),
    );
  }

  /** Milliseconds after which to look again; undefined when nothing is left to do until something changes. */
  async #tell(id: DeploymentId): Promise<number | undefined> {
    const { keys, signer, self, deployment: find } = this.#deps;
    const wanted = (await keys.next(id)) ?? (await keys.current(id));
    const deployment = find(id);
    const place = deployment?.place;
    // A claimed place told its key when it was taken; it is pinned by the owners' next version.
    if (deployment === undefined || place?.state !== 'pinned' || toldKeyOf(place) === wanted.publicKey)
      return undefined;
    const details = { nonce: toBase64url(randomBytes(16)), member: place.name, wireguard: wanted.publicKey };
    const signed = createClaim({ deployment: id, details, nodeSigner: signer, inviteSigner: null });
    if (place.keeper) {
      const answer = this.#deps.witness({ signed, details });
      return answer.ok ? undefined : AGAIN_MS;
    }
    const late = new MoatError('NO_KEEPER_REACHABLE', 'no keeper answered in time', { retryable: true });
    const limit = deadline(ASK_MS, late, this.#stopped.signal);
    const answer = await this.#deps.ask(this.#deps.keepers(deployment), { signed, details }, limit);
    if (!answer.ok) throw new MoatError(answer.code, plainText(answer.message), { details: { peer: self } });
    this.#deps.take(answer.claim.keeper, id, [answer.claim]);
    return undefined;
  }
}

/** What the machine said last of a place, whether or not the owners' version has it by now. */
export function toldKeyOf(place: Place): string | undefined {
  return place.claim?.details.wireguard ?? place.wireguard;
}
