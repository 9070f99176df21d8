/** `/moat/forward/1` at a member: who passes packets on, and, where this machine does, the pairs it serves. */
import { errorCode, type Clock, type ControlPlane, type DeploymentId, type Logger } from '@moat/core';
import type { MessageStream, PeerConnection, PeerId, Timer } from '@moat/core';
import type { ContractView } from '@moat/contract';
import { createDeadline } from '../deadline.ts';
import {
  FORWARD_PROTOCOL,
  MAX_KNOWN,
  decodeForwardRequest,
  decodeKnown,
  encodeForward,
  type ForwardRequest,
} from './forward-messages.ts';
import type { Forwarder } from './forwarder.ts';

export interface ForwardDeskDeps {
  readonly control: ControlPlane;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Serves pairs; undefined where this machine passes nothing on. */
  readonly forwarder: Forwarder | undefined;
  /** Deployments in which this machine is a member now, with the contract in force. */
  views(): readonly ContractView[];
}

interface Offer {
  readonly deployment: DeploymentId;
  readonly peer: PeerId;
  /** When it was heard last, in milliseconds since 1970. */
  readonly at: number;
  /** From the peer itself: only that is told on, or old news would go round for ever. */
  readonly firstHand: boolean;
}

/** Streams of one connection. */
const MAX_STREAMS = 16;
/** Milliseconds for one request and its answer. */
const REQUEST_MS = 5000;
/** Milliseconds between two offers to the same peers, and for how long one is believed. */
const OFFER_MS = 1_800_000;
const BELIEVED_MS = 2 * OFFER_MS;
/** Milliseconds until an offer follows a change. */
const SOON_MS = 5000;
/** Offers remembered; the oldest is dropped. */
const MAX_OFFERS = 256;
/** Milliseconds between two questions about a deployment, while somebody is known and while nobody is. */
const ASK_AGAIN_MS = 600_000;
const ASK_SOON_MS = 30_000;
/** Peers asked at a time, keepers first: those that forward are connected to them. */
const MAX_ASKED = 3;

/**
 * Who offers to pass packets on is told, not searched: a forwarder tells the members it is connected to, among them
 * keepers, and whoever needs one asks those. Nothing is believed of it but the name of a member: a forwarder refuses for
 * itself. Bound: 256 offers, an hour each.
 */
export class ForwardDesk {
  readonly #deps: ForwardDeskDeps;
  /** By deployment and peer, oldest first. */
  readonly #offers = new Map<string, Offer>();
  readonly #askedAt = new Map<DeploymentId, number>();
  readonly #stopping = new AbortController();
  #unsubscribe: () => void = () => undefined;
  /** Somebody here asked about them: at most the deployments of this machine. */
  readonly #wanted = new Set<DeploymentId>();
  #isOffering = false;
  #next: { readonly timer: Timer; readonly at: number } | undefined;

  constructor(deps: ForwardDeskDeps) {
    this.#deps = deps;
  }

  start(): void {
    const { control } = this.#deps;
    const options = { audience: 'admitted', maxStreams: MAX_STREAMS } as const;
    control.handle(FORWARD_PROTOCOL, (stream) => this.#serve(stream), options);
    this.#unsubscribe = control.onAdmitted((connection) => this.#met(connection));
    if (this.#deps.forwarder === undefined) return;
    this.#isOffering = true;
    this.#offerIn(SOON_MS);
  }

  stop(): void {
    this.#stopping.abort();
    this.#isOffering = false;
    this.#unsubscribe();
    this.#next?.timer.cancel();
    this.#deps.forwarder?.stop();
  }

  /** To call when a contract changed: pairs that may not meet any more end, and new members hear of the offer. */
  review(): void {
    this.#deps.forwarder?.review();
    // One change is seldom alone.
    this.#offerIn(SOON_MS);
  }

  /** Members of a deployment that are known to pass packets on now. Asks for more, which come later: ask early. */
  known(deployment: DeploymentId): readonly PeerId[] {
    this.#wanted.add(deployment);
    const now = this.#deps.clock.now();
    const view = this.#viewOf(deployment);
    const known = [...this.#offers.values()].filter(
      (offer) => offer.deployment === deployment && now - offer.at < BELIEVED_MS && view?.memberOf(offer.peer),
    );
    const askedAt = this.#askedAt.get(deployment) ?? -Infinity;
    if (view !== undefined && now - askedAt >= (known.length > 0 ? ASK_AGAIN_MS : ASK_SOON_MS)) {
      this.#askedAt.set(deployment, now);
      void this.#ask(view);
    }
    return known.map(({ peer }) => peer);
  }

  async #serve(stream: MessageStream): Promise<void> {
    const { peer, closed } = stream.connection;
    const request = await this.#read(stream, closed);
    if (request.type === 'ask') {
      const { forwarder } = this.#deps;
      if (forwarder !== undefined) return forwarder.serve(stream, request);
      return this.#write(stream, encodeForward({ type: 'refused', code: 'FORWARD_REFUSED' }), closed);
    }
    const view = this.#viewOf(request.deployment);
    const isMember = view?.memberOf(peer) !== undefined;
    if (request.type === 'offer') {
      if (isMember) this.#remember(request.deployment, peer, true);
      return;
    }
    const peers = isMember ? this.#told(request.deployment, peer) : [];
    await this.#write(stream, encodeForward({ type: 'known', peers }), closed);
  }

  #told(deployment: DeploymentId, asker: PeerId): readonly PeerId[] {
    const { control, forwarder } = this.#deps;
    const now = this.#deps.clock.now();
    const heard = [...this.#offers.values()].filter(
      (offer) =>
        offer.firstHand && offer.deployment === deployment && offer.peer !== asker && now - offer.at < BELIEVED_MS,
    );
    return [...(forwarder === undefined ? [] : [control.self]), ...heard.map(({ peer }) => peer)].slice(0, MAX_KNOWN);
  }

  #remember(deployment: DeploymentId, peer: PeerId, firstHand: boolean): void {
    const { clock, control } = this.#deps;
    if (peer === control.self) return;
    const key = `${deployment} ${peer}`;
    const before = this.#offers.get(key);
    if (before?.firstHand === true && !firstHand && clock.now() - before.at < BELIEVED_MS) return;
    this.#offers.delete(key);
    this.#offers.set(key, { deployment, peer, at: clock.now(), firstHand });
    const [oldest] = this.#offers.keys();
    if (this.#offers.size > MAX_OFFERS && oldest !== undefined) this.#offers.delete(oldest);
  }

  async #ask(view: ContractView): Promise<void> {
    const { deployment } = view.contract;
    const connected = [...new Set(this.#deps.control.connections().map(({ peer }) => peer))].filter(
      (peer) => view.memberOf(peer) !== undefined,
    );
    const keepers = new Set(view.keepers().map(({ peer }) => peer));
    const asked = connected.sort((a, b) => Number(keepers.has(b)) - Number(keepers.has(a))).slice(0, MAX_ASKED);
    await Promise.all(
      asked.map(async (peer) => {
        const answer = await this.#say(peer, { type: 'who', deployment }, (stream, signal) => stream.read(signal));
        if (answer === undefined) return;
        for (const each of decodeKnown(answer))
          if (view.memberOf(each) !== undefined) this.#remember(deployment, each, false);
      }),
    ).catch((error: unknown) =>
      this.#deps.logger.debug({ deployment, code: errorCode(error) }, 'who forwards is unclear'),
    );
  }

  /** Unless that is sooner anyway. */
  #offerIn(delayMs: number): void {
    const { clock } = this.#deps;
    const at = clock.now() + delayMs;
    if (!this.#isOffering || (this.#next !== undefined && this.#next.at <= at)) return;
    this.#next?.timer.cancel();
    this.#next = { at, timer: clock.after(delayMs, () => this.#offerToAll()) };
  }

  #offerToAll(): void {
    this.#next = undefined;
    this.#offerIn(OFFER_MS);
    const seen = new Set<PeerId>();
    for (const connection of this.#deps.control.connections()) {
      if (seen.has(connection.peer)) continue;
      seen.add(connection.peer);
      this.#offerTo(connection);
    }
  }

  #met(connection: PeerConnection): void {
    if (this.#deps.forwarder !== undefined) this.#offerTo(connection);
    for (const deployment of this.#wanted) {
      const isMember = this.#viewOf(deployment)?.memberOf(connection.peer) !== undefined;
      const isKnown = [...this.#offers.values()].some((offer) => offer.deployment === deployment);
      if (!isMember || isKnown) continue;
      this.#askedAt.delete(deployment);
      this.known(deployment);
    }
  }

  #offerTo({ peer }: PeerConnection): void {
    for (const view of this.#deps.views()) {
      if (view.memberOf(peer) === undefined) continue;
      const { deployment } = view.contract;
      void this.#say(peer, { type: 'offer', deployment }, () => Promise.resolve(undefined));
    }
  }

  /** One request on a stream of its own; undefined when it failed, which is no matter. */
  async #say<T>(
    peer: PeerId,
    request: ForwardRequest,
    then: (stream: MessageStream, signal: AbortSignal) => Promise<T>,
  ): Promise<T | undefined> {
    const { clock, control, logger } = this.#deps;
    const [connection] = control.connections(peer);
    if (connection === undefined) return undefined;
    using deadline = createDeadline(clock, REQUEST_MS, AbortSignal.any([connection.closed, this.#stopping.signal]));
    try {
      const stream = await control.open(connection, FORWARD_PROTOCOL, deadline.signal);
      await stream.write(encodeForward(request), deadline.signal);
      const answer = await then(stream, deadline.signal);
      await stream.close();
      return answer;
    } catch (error) {
      logger.debug({ peer, code: errorCode(error) }, 'a member does not talk about forwarding');
      return undefined;
    }
  }

  #viewOf(deployment: DeploymentId): ContractView | undefined {
    return this.#deps.views().find(({ contract }) => contract.deployment === deployment);
  }

  async #read(stream: MessageStream, closed: AbortSignal): Promise<ForwardRequest> {
    using deadline = createDeadline(this.#deps.clock, REQUEST_MS, closed);
    return decodeForwardRequest(await stream.read(deadline.signal));
  }

  async #write(stream: MessageStream, bytes: Uint8Array, closed: AbortSignal): Promise<void> {
    using deadline = createDeadline(this.#deps.clock, REQUEST_MS, closed);
    await stream.write(bytes, deadline.signal);
  }
}
