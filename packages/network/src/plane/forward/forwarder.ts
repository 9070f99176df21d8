/** Passes UDP packets on between two members of a deployment that cannot reach each other directly. */
import { randomInt } from 'node:crypto';
import {
  MoatError,
  RateLimit,
  errorCode,
  type Clock,
  type DeploymentId,
  type Endpoint,
  type InitiationTests,
  type Logger,
  type MessageStream,
  type PeerId,
  type Timer,
} from '@moat/core';
import type { ContractView } from '@moat/contract';
import { ByteBudget } from './byte-budget.ts';
import { createDeadline } from '../deadline.ts';
import {
  decodeLeave,
  encodeForward,
  type ForwardAnswer,
  type ForwardPair,
  type ForwardRefusal,
} from './forward-messages.ts';
import { ForwardPairSocket, type ForwardSide } from './forward-pair.ts';
import { meetingDenial } from '../paths/meeting.ts';

/** What a member gives to others. */
export interface ForwarderLimits {
  /** Pairs at once; more are refused. @defaultValue 128 */
  readonly pairs: number;
  /** Pairs of one PeerId. @defaultValue 16 */
  readonly pairsPerPeer: number;
  /** Bytes a second that one PeerId may send through, in all its pairs. @defaultValue 16777216 */
  readonly bytesPerSecondPerPeer: number;
  /** The same of all together. @defaultValue 67108864 */
  readonly bytesPerSecond: number;
}

const DEFAULT_LIMITS: ForwarderLimits = {
  pairs: 128,
  pairsPerPeer: 16,
  bytesPerSecondPerPeer: 16 * 1024 * 1024,
  bytesPerSecond: 64 * 1024 * 1024,
};

/** First and last UDP port, both included. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export interface ForwarderDeps {
  readonly self: PeerId;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly initiations: InitiationTests;
  /** The contract in force here, where this machine is a member and may serve it; else undefined. */
  viewOf(deployment: DeploymentId): ContractView | undefined;
}

export interface ForwarderOptions {
  /** Where pairs get their port. @defaultValue wherever the system gives one */
  readonly ports?: PortRange;
  readonly limits?: Partial<ForwarderLimits>;
}

/** One pair as `status` shows it. */
export interface ForwardedPair {
  readonly deployment: DeploymentId;
  readonly peers: readonly [PeerId, PeerId];
  readonly port: number;
  readonly packets: number;
  readonly bytes: number;
  readonly dropped: number;
}

/** Milliseconds without a packet after which a pair ends. */
const IDLE_MS = 180_000;
const LOOK_MS = 15_000;
/** Milliseconds for each answer to leave. */
const ASK_MS = 5000;
/** Streams on which one side of a pair is told; the oldest is ended. */
const MAX_LISTENERS = 2;
/** Asks of one PeerId in ten seconds. */
const ASKS = { count: 20, perMs: 10_000 };
/** Ports tried before the range counts as full. */
const MAX_TRIES = 32;

interface Listener {
  readonly stream: MessageStream;
  readonly over: AbortController;
}

interface Running {
  readonly deployment: DeploymentId;
  readonly socket: ForwardPairSocket;
  readonly listeners: Map<PeerId, Listener[]>;
  readonly left: Set<PeerId>;
}

/**
 * For members that its own contract lets meet; it need have no grant itself. It sees addresses and sizes, never content.
 * A pair outlives the connections by which it was asked for; it ends 3 minutes after its last packet, when both sides
 * left, or when the contract does not let them meet any more. Bounds: {@link ForwarderLimits}.
 */
export class Forwarder {
  readonly #deps: ForwarderDeps;
  readonly #ports: PortRange;
  readonly #limits: ForwarderLimits;
  readonly #asks: RateLimit;
  readonly #budget: ByteBudget;
  readonly #running = new Map<string, Promise<Running>>();
  readonly #opened = new Map<string, Running>();
  readonly #budgets = new Map<PeerId, { readonly budget: ByteBudget; pairs: number }>();
  #looking: Timer | undefined;
  #isStopped = false;

  constructor(deps: ForwarderDeps, { ports = { first: 0, last: 0 }, limits }: ForwarderOptions = {}) {
    this.#deps = deps;
    this.#ports = ports;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#budget = new ByteBudget(deps.clock, this.#limits.bytesPerSecond);
    this.#asks = new RateLimit({ now: () => deps.clock.now() }, ASKS);
  }

  /** To call when a contract changed or ended, or a grant's time has come: ends pairs that may not meet any more. */
  review(): void {
    for (const [key, running] of this.#opened) {
      const [a, b] = running.socket.sides;
      if (this.#denial(running.deployment, a.peer, b.peer) !== undefined) this.#end(key, 'the contract changed');
    }
  }

  pairs(): readonly ForwardedPair[] {
    return [...this.#opened.values()].map(({ deployment, socket }) => {
      const [a, b] = socket.sides;
      return { deployment, peers: [a.peer, b.peer], port: socket.port, ...socket.counts };
    });
  }

  stop(): void {
    this.#isStopped = true;
    this.#looking?.cancel();
    for (const key of this.#opened.keys()) this.#end(key, 'this machine stops');
  }

  /** Serves a peer that asked for its pair; resolves when this side left. @throws what ends a stream */
  async serve(stream: MessageStream, pair: ForwardPair): Promise<void> {
    const { peer, closed } = stream.connection;
    using deadline = createDeadline(this.#deps.clock, ASK_MS, closed);
    const running = this.#asks.take(peer) > 0 ? 'FORWARD_BUSY' : await this.#join(peer, pair);
    if (typeof running === 'string') {
      return stream.write(encodeForward({ type: 'refused', code: running }), deadline.signal);
    }
    const side = running.socket.sides.find((each) => each.peer === peer) as ForwardSide;
    running.left.delete(peer);
    const key = running.socket.newKey(side);
    await stream.write(encodeForward({ type: 'session', port: running.socket.port, key }), deadline.signal);
    await this.#listen(stream, running, closed);
  }

  /** Until this side leaves, its connection is gone or the pair ends. */
  async #listen(stream: MessageStream, running: Running, closed: AbortSignal): Promise<void> {
    const { peer } = stream.connection;
    const listener: Listener = { stream, over: new AbortController() };
    const listeners = running.listeners.get(peer) ?? [];
    running.listeners.set(peer, listeners);
    listeners.push(listener);
    if (listeners.length > MAX_LISTENERS) listeners.shift()?.over.abort(over('asked again'));
    try {
      decodeLeave(await stream.read(AbortSignal.any([closed, listener.over.signal])));
      running.left.add(peer);
      if (running.left.size === 2) this.#end(keyOf(running.deployment, peersOf(running)), 'both sides left');
    } finally {
      const at = listeners.indexOf(listener);
      if (at !== -1) listeners.splice(at, 1);
    }
  }

  /** The pair's port, opened if it is not; or why not. */
  async #join(asker: PeerId, { deployment, peer }: ForwardPair): Promise<Running | ForwardRefusal> {
    if (this.#isStopped || this.#denial(deployment, asker, peer) !== undefined) return 'FORWARD_REFUSED';
    const peers = [asker, peer].sort() as [PeerId, PeerId];
    const key = keyOf(deployment, peers);
    const running = this.#running.get(key);
    if (running !== undefined) return this.#opening(key, running);
    const { pairs, pairsPerPeer } = this.#limits;
    const isFull = peers.some((each) => (this.#budgets.get(each)?.pairs ?? 0) >= pairsPerPeer);
    if (this.#running.size >= pairs || isFull) return 'FORWARD_BUSY';
    const opening = this.#open(deployment, peers);
    this.#running.set(key, opening);
    try {
      const opened = await opening;
      // The contract may have changed while the port was being opened.
      this.#opened.set(key, opened);
      if (this.#isStopped || this.#denial(deployment, asker, peer) !== undefined) {
        this.#end(key, 'the contract changed');
        return 'FORWARD_REFUSED';
      }
      this.#look();
      this.#deps.logger.info({ deployment, peers, port: opened.socket.port }, 'forwarding packets of a pair');
      return opened;
    } catch (error) {
      this.#running.delete(key);
      for (const each of peers) this.#release(each);
      this.#deps.logger.warn({ code: errorCode(error) }, 'no UDP port for a pair');
      return 'FORWARD_BUSY';
    }
  }

  /** What another asker opened a moment ago. */
  async #opening(key: string, opening: Promise<Running>): Promise<Running | 'FORWARD_BUSY'> {
    try {
      await opening;
    } catch {
      return 'FORWARD_BUSY';
    }
    return this.#opened.get(key) ?? 'FORWARD_BUSY';
  }

  async #open(deployment: DeploymentId, peers: readonly [PeerId, PeerId]): Promise<Running> {
    const [a, b] = peers;
    const sides = [this.#side(a), this.#side(b)] as const;
    const listeners: Running['listeners'] = new Map();
    const onLearned = (side: ForwardSide, from: Endpoint): void => {
      for (const each of listeners.get(side.peer) ?? []) void this.#tell(each, { type: 'learned', ...from });
    };
    const { clock, initiations } = this.#deps;
    const deps = { clock, initiations, budget: this.#budget, onLearned };
    const { first, last } = this.#ports;
    const count = last - first + 1;
    const start = randomInt(count);
    for (let i = 0; ; i++) {
      try {
        const socket = await ForwardPairSocket.open(deps, first + ((start + i) % count), sides);
        return { deployment, socket, listeners, left: new Set() };
      } catch (error) {
        if (errorCode(error) !== 'EADDRINUSE' || i + 1 >= Math.min(count, MAX_TRIES)) throw error;
      }
    }
  }

  #side(peer: PeerId): ForwardSide {
    const entry = this.#budgets.get(peer) ?? {
      budget: new ByteBudget(this.#deps.clock, this.#limits.bytesPerSecondPerPeer),
      pairs: 0,
    };
    entry.pairs += 1;
    this.#budgets.set(peer, entry);
    return { peer, budget: entry.budget, key: undefined, address: undefined, unansweredSince: undefined, knockedAt: 0 };
  }

  #release(peer: PeerId): void {
    const entry = this.#budgets.get(peer);
    if (entry === undefined) return;
    entry.pairs -= 1;
    if (entry.pairs === 0) this.#budgets.delete(peer);
  }

  /** A peer that does not read loses its stream; its pair goes on. */
  async #tell({ stream, over: ending }: Listener, answer: ForwardAnswer): Promise<void> {
    using deadline = createDeadline(this.#deps.clock, ASK_MS, ending.signal);
    try {
      await stream.write(encodeForward(answer), deadline.signal);
    } catch (error) {
      ending.abort(error);
    }
  }

  #denial(deployment: DeploymentId, a: PeerId, b: PeerId): string | undefined {
    const view = this.#deps.viewOf(deployment);
    const [one, other] = [view?.memberOf(a), view?.memberOf(b)];
    if (view === undefined || one === undefined || other === undefined) return 'GRANT_DENIED';
    if (a === this.#deps.self || b === this.#deps.self) return 'GRANT_DENIED';
    return meetingDenial(view, one.name, other.name, this.#deps.clock.now());
  }

  #end(key: string, why: string): void {
    const running = this.#opened.get(key);
    if (running === undefined) return;
    this.#opened.delete(key);
    this.#running.delete(key);
    running.socket.close();
    for (const { peer } of running.socket.sides) this.#release(peer);
    for (const listeners of running.listeners.values()) for (const each of listeners) each.over.abort(over(why));
    this.#deps.logger.info({ deployment: running.deployment, peers: peersOf(running), why }, 'a pair is over');
  }

  /** One timer while there are pairs. Grants end by the clock too. */
  #look(): void {
    if (this.#looking !== undefined) return;
    this.#looking = this.#deps.clock.after(LOOK_MS, () => {
      this.#looking = undefined;
      const now = this.#deps.clock.now();
      for (const [key, { socket }] of this.#opened)
        if (now - socket.usedAt >= IDLE_MS) this.#end(key, 'nothing to send');
      this.review();
      if (this.#opened.size > 0) this.#look();
    });
  }
}

function keyOf(deployment: DeploymentId, [a, b]: readonly [PeerId, PeerId]): string {
  return `${deployment} ${a} ${b}`;
}

function peersOf({ socket }: Running): readonly [PeerId, PeerId] {
  const [a, b] = socket.sides;
  return [a.peer, b.peer];
}

function over(why: string): MoatError<'FORWARD_OVER'> {
  return new MoatError('FORWARD_OVER', `the forwarder ended it: ${why}`, { retryable: true });
}
