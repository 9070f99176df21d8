/**
 * Owners at this machine, where it keeps the deployment of none of them itself: a challenge names the two ends of a
 * connection to a keeper, the owner's key signs it elsewhere, and the keeper admits that connection for a session. A
 * deployment seen so is held here from then on, also without a place.
 */
import { randomBytes } from 'node:crypto';
import {
  MoatError,
  errorCode,
  isMoatError,
  toBase64url,
  type Clock,
  type DeploymentId,
  type Logger,
  type PeerConnection,
  type PeerId,
  type Timer,
} from '@moat/core';
import {
  checkTokenHead,
  formatTime,
  parseContract,
  parseToken,
  type SignedOwnerProof,
  type Token,
} from '@moat/contract';
import { ownerReason, type AddressBook, type Overlay, type Snapshot } from '@moat/overlay';
import { deadline } from '../deadline.ts';
import type { Deployment } from '../deployments/deployment.ts';
import type { Deployments } from '../deployments/deployments.ts';
import { forked } from '../deployments/fork-intake.ts';
import { plainText } from '../remote-text.ts';
import type { Guests } from './guests.ts';
import { isKeptHere } from './owner-door.ts';
import { addressesByPeer, routesTo, withoutPeer, type Route } from './routes.ts';

/** Milliseconds a challenge waits for its signature, and a session for its next use. */
const CHALLENGE_MS = 120_000;
const SESSION_MS = 300_000;
const DIAL_MS = 10_000;
const ASK_MS = 20_000;
/** Challenges and sessions at once; the oldest is given up. */
const MAX_CHALLENGES = 16;
const MAX_SESSIONS = 8;
/** Addresses kept of one deployment's keepers. */
const MAX_LOCATED = 64;

export interface OwnerSessionsDeps {
  readonly self: PeerId;
  readonly overlay: Pick<Overlay, 'dial' | 'connect' | 'showOwner' | 'withdraw'>;
  readonly deployments: Deployments;
  readonly addressBook: AddressBook & { flush(): void };
  readonly guests: Guests;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What an owner has to sign. */
export interface Challenge {
  /** Null where this machine keeps the deployment itself. */
  readonly id: string | null;
  readonly deployment: DeploymentId;
  readonly keeper: PeerId | null;
  readonly time: string;
  /** Milliseconds since 1970. */
  readonly expires: number;
}

export interface Session {
  readonly id: string;
  readonly deployment: DeploymentId;
  readonly connection: PeerConnection;
  /** Milliseconds since 1970. */
  readonly expires: number;
}

interface Waiting {
  readonly deployment: DeploymentId;
  readonly keeper: PeerId;
  readonly addresses: readonly string[];
  readonly token: Token | undefined;
  readonly expires: number;
}

interface Open {
  readonly id: string;
  readonly deployment: DeploymentId;
  readonly connection: PeerConnection;
  timer: Timer;
  expires: number;
}

/** Bound: {@link MAX_CHALLENGES} challenges and {@link MAX_SESSIONS} sessions; the oldest is given up. */
export class OwnerSessions {
  readonly #deps: OwnerSessionsDeps;
  readonly #challenges = new Map<string, Waiting>();
  /** Least recently used first. */
  readonly #sessions = new Map<string, Open>();
  #lastTimeMs = 0;

  constructor(deps: OwnerSessionsDeps) {
    this.#deps = deps;
  }

  /** Dials the keepers in the order of their names until one is reached. @throws `NO_KEEPER_REACHABLE` */
  async challenge(deployment: Deployment, signal: AbortSignal): Promise<Challenge> {
    if (isKeptHere(deployment)) {
      const now = this.#deps.clock.now();
      return { id: null, deployment: deployment.id, keeper: null, time: formatTime(now), expires: now };
    }
    const { addressBook, guests } = this.#deps;
    const routes = routesTo(deployment, addressBook, guests.addresses(deployment.id));
    return this.#dialFirst(deployment.id, routes, undefined, signal);
  }

  /** The same with a locator, for a deployment that need not be held here. @throws also `TOKEN_INVALID` */
  async challengeByLocator(text: string, signal: AbortSignal): Promise<Challenge> {
    const token = parseToken(text);
    const held = this.#deps.deployments.get(token.deployment);
    if (held !== undefined && isKeptHere(held)) return this.challenge(held, signal);
    const direct = addressesByPeer(token.keepers);
    const routes = [...direct].map(([peer, addresses]) => ({
      peer,
      addresses: [...addresses, ...token.anchors.map((anchor) => `${anchor}/p2p-circuit/p2p/${peer}`)],
    }));
    return this.#dialFirst(token.deployment, routes, token, signal);
  }

  /**
   * Shows the signed challenge to its keeper and holds what it gives back.
   * @throws `CHALLENGE_UNKNOWN`, `OWNER_REFUSED`, `NO_KEEPER_REACHABLE`, `JOIN_UNVERIFIED`, `INVITE_UNKNOWN`,
   * `DISK_FULL`, and `HEAD_FORKED` where the keeper is on another branch, which is known here from then on
   */
  async open(challenge: string, signed: SignedOwnerProof, signal: AbortSignal): Promise<Session> {
    const waiting = this.#challenges.get(challenge);
    this.#challenges.delete(challenge);
    const { clock, overlay } = this.#deps;
    if (waiting === undefined || waiting.expires < clock.now()) {
      throw new MoatError('CHALLENGE_UNKNOWN', 'that challenge is not waiting here: ask for a new one');
    }
    const late = new MoatError('NO_KEEPER_REACHABLE', 'the keeper did not answer in time', { retryable: true });
    const limit = deadline(ASK_MS, late, signal);
    // The proof is for both machines, so the connection may be a new one.
    const connection = await this.#dial({ peer: waiting.keeper, addresses: waiting.addresses }, limit);
    const answer = await overlay.showOwner(connection, signed, limit);
    if (!answer.ok) {
      throw new MoatError('OWNER_REFUSED', plainText(answer.message), {
        reason: 'the key is no owner of the newest version there, or the clocks differ by more than five minutes',
      });
    }
    try {
      const deployment = await this.#hold(connection.peer, waiting, answer.snapshot);
      return this.#begin(deployment.id, connection);
    } catch (error) {
      overlay.withdraw(connection, ownerReason(waiting.deployment));
      throw error;
    }
  }

  /** The connection of the open session, which is used herewith. @throws `OWNER_SESSION_NEEDED` */
  connection(deployment: Deployment): PeerConnection {
    const open = [...this.#sessions.values()].findLast((session) => session.deployment === deployment.id);
    if (open === undefined) {
      throw new MoatError('OWNER_SESSION_NEEDED', `no owner session of ${deployment.contract.name} is open here`, {
        reason: 'this machine is no keeper of it: an owner proves to be one to a keeper first',
      });
    }
    this.#sessions.delete(open.id);
    this.#sessions.set(open.id, open);
    this.#rearm(open);
    return open.connection;
  }

  /** The keeper an open session leads to, unused. */
  leadsTo(deployment: DeploymentId, keeper: PeerId): PeerConnection | undefined {
    return [...this.#sessions.values()].find(
      (session) => session.deployment === deployment && session.connection.peer === keeper,
    )?.connection;
  }

  /** Takes what a keeper showed in a session. @throws `JOIN_UNVERIFIED`, `HEAD_FORKED`, `DISK_FULL` */
  take(from: PeerId, deployment: DeploymentId, snapshot: Snapshot): Promise<Deployment> {
    return this.#hold(from, { deployment, keeper: from, addresses: [], token: undefined, expires: 0 }, snapshot);
  }

  /** @throws `OWNER_SESSION_UNKNOWN` */
  close(id: string): void {
    const open = this.#sessions.get(id);
    if (open === undefined) throw new MoatError('OWNER_SESSION_UNKNOWN', 'no such owner session is open');
    this.#end(open);
  }

  stop(): void {
    for (const open of this.#sessions.values()) this.#end(open);
    this.#challenges.clear();
  }

  async #dialFirst(
    deployment: DeploymentId,
    routes: readonly Route[],
    token: Token | undefined,
    signal: AbortSignal,
  ): Promise<Challenge> {
    const { clock, logger } = this.#deps;
    const late = new MoatError('PEER_UNREACHABLE', 'no keeper answered in time', { retryable: true });
    const limit = deadline(DIAL_MS, late, signal);
    let cause: unknown;
    for (const { peer, addresses } of routes) {
      try {
        await this.#dial({ peer, addresses }, limit);
        const id = toBase64url(randomBytes(16));
        const expires = clock.now() + CHALLENGE_MS;
        const [oldest] = this.#challenges.keys();
        if (oldest !== undefined && this.#challenges.size >= MAX_CHALLENGES) this.#challenges.delete(oldest);
        this.#challenges.set(id, { deployment, keeper: peer, addresses, token, expires });
        return { id, deployment, keeper: peer, time: this.#nextTime(), expires };
      } catch (error) {
        signal.throwIfAborted();
        logger.info({ component: 'node.owners', peer, code: errorCode(error), err: error }, 'keeper not reached');
        cause = error;
      }
    }
    throw new MoatError('NO_KEEPER_REACHABLE', 'no keeper of this deployment can be reached now', {
      cause,
      retryable: true,
      next: ['start a keeper, then try again', 'moat sign FILE works without one'],
    });
  }

  /** To the millisecond and never twice the same: a keeper counts each proof once. */
  #nextTime(): string {
    this.#lastTimeMs = Math.max(this.#lastTimeMs + 1, this.#deps.clock.now());
    return new Date(this.#lastTimeMs).toISOString();
  }

  #dial({ peer, addresses }: Route, signal: AbortSignal): Promise<PeerConnection> {
    const { overlay } = this.#deps;
    return addresses.length === 0 ? overlay.connect(peer, signal) : overlay.dial(addresses, signal);
  }

  async #hold(from: PeerId, waiting: Waiting, { proof, contract, claims, keepers }: Snapshot): Promise<Deployment> {
    const { deployments, guests } = this.#deps;
    const held = deployments.get(waiting.deployment);
    // Before it is taken: without a place here nobody is to look for its members.
    if (held === undefined) guests.expect(waiting.deployment);
    try {
      const { head } = proof.newest;
      if (head.deployment !== waiting.deployment) throw new Error('it is of another deployment');
      if (waiting.token !== undefined) checkTokenHead(waiting.token, head);
      this.#learn(from, keepers);
      const deployment = deployments.adopt(from, { proof, contract: parseContract(contract), claims });
      const addresses = [...new Set([...waiting.addresses, ...guests.addresses(deployment.id), ...keepers])].slice(
        0,
        MAX_LOCATED,
      );
      if (deployment.place === undefined) guests.save(deployment.id, addresses);
      return deployment;
    } catch (error) {
      if (deployments.get(waiting.deployment) === undefined) guests.forget(waiting.deployment);
      // A keeper that is behind is a keeper all the same.
      if (held !== undefined && isMoatError(error, 'VERSION_OLD')) return held;
      if (held !== undefined && isMoatError(error, 'HEAD_FORKED')) {
        // Whoever is to end the fork has to know both branches whole.
        await deployments.offerProof(from, proof, async () => contract);
        throw forked(held);
      }
      const isOurs = isMoatError(error) && ['DISK_FULL', 'INVITE_UNKNOWN', 'HEAD_FORKED'].includes(error.code);
      if (isOurs) throw error;
      throw new MoatError('JOIN_UNVERIFIED', "the keeper's answer does not hold", { cause: error });
    }
  }

  /** What one keeper says about the others never takes the place of what is known of them. */
  #learn(from: PeerId, keepers: readonly string[]): void {
    const { addressBook, self } = this.#deps;
    for (const [peer, addresses] of addressesByPeer(keepers)) {
      const direct = addresses.filter((address) => !address.includes('/p2p-circuit'));
      const isNews = peer === from || addressBook.known(peer).length === 0;
      if (peer !== self && isNews && direct.length > 0) addressBook.learn(peer, direct.map(withoutPeer));
    }
    addressBook.flush();
  }

  #begin(deployment: DeploymentId, connection: PeerConnection): Session {
    for (const open of this.#sessions.values()) {
      if (open.connection === connection && open.deployment === deployment) this.#forget(open);
    }
    const [oldest] = this.#sessions.values();
    if (oldest !== undefined && this.#sessions.size >= MAX_SESSIONS) this.#end(oldest);
    const id = toBase64url(randomBytes(16));
    const { clock } = this.#deps;
    const open: Open = { id, deployment, connection, timer: { cancel: () => undefined }, expires: clock.now() };
    this.#sessions.set(id, open);
    this.#rearm(open);
    connection.closed.addEventListener('abort', () => this.#forget(open), { once: true });
    return { id, deployment, connection, expires: open.expires };
  }

  #rearm(open: Open): void {
    const { clock } = this.#deps;
    open.timer.cancel();
    open.expires = clock.now() + SESSION_MS;
    open.timer = clock.after(SESSION_MS, () => this.#end(open));
  }

  #end(open: Open): void {
    this.#forget(open);
    this.#deps.overlay.withdraw(open.connection, ownerReason(open.deployment));
  }

  #forget(open: Open): void {
    open.timer.cancel();
    this.#sessions.delete(open.id);
  }
}
