/**
 * Post-quantum preshared keys of a tunnel's peers, agreed on over `/moat/psk/1` as soon as a peer is connected, and anew
 * every ten minutes while packets go. Required, a peer without one has a key that nobody knows: nothing passes.
 */
import {
  MoatError,
  RateLimit,
  errorCode,
  type Clock,
  type ControlPlane,
  type DeploymentId,
  type Logger,
  type MessageStream,
  type PeerId,
  type Service,
  type Timer,
  type Tunnels,
} from '@moat/core';

import { createDeadline } from '../deadline.ts';
import type { PathPeer } from '../paths/paths.ts';
import { createPeerDoor, type PeerDoor } from '../peer-door.ts';
import { PresharedPeer, type PskState } from './preshared-peer.ts';
import {
  PSK_PROTOCOL,
  decodePskMessage,
  encodePskMessage,
  type FirstPskMessage,
  type PskMessage,
} from './psk-messages.ts';

/** Milliseconds between two looks at what is due. */
const LOOK_MS = 5_000;
/** Milliseconds that a key serves while packets go. */
const SERVES_MS = 10 * 60_000;
/** Milliseconds between tries of one peer, one after the other. */
const AGAIN_MS = [5_000, 15_000, 60_000, 300_000] as const;
/** Milliseconds that a session which stood before us may go on where a key is required: as long as WireGuard would use it. */
const GRACE_MS = 150_000;
const SESSION_MS = 180_000;
/** Milliseconds of reaching a peer and agreeing with it. */
const REACH_MS = 15_000;
/** Milliseconds for the initiator to begin, once asked. */
const WANTED_MS = 15_000;
/** Agreements that a peer may begin in a minute. */
const PER_MINUTE = 6;
/** Agreements that we begin at a time. */
const AT_ONCE = 8;

/** `prefer`: packets pass while there is no key; `require`: they do not; null: no keys. */
export type PskMode = 'prefer' | 'require' | null;

/** One line of `status`. */
export interface PskLine {
  readonly peer: PeerId;
  readonly state: PskState;
  /** Milliseconds since 1970; null = never. */
  readonly agreedAt: number | null;
}

/** The door of `/moat/psk/1`. */
export type PskDoor = PeerDoor<FirstPskMessage>;

export interface PresharedKeysDeps {
  readonly control: ControlPlane;
  readonly door: PskDoor;
  readonly tunnels: Tunnels;
  readonly clock: Clock;
  readonly logger: Logger;
  /** True while packets of a peer go. */
  readonly isAwake: (peer: PeerId) => boolean;
}

export interface PresharedKeysOptions {
  /** Name of the interface. */
  readonly tunnel: string;
  readonly deployment: DeploymentId;
  /** Our WireGuard key, as `wg` prints it. */
  readonly publicKey: string;
}

export interface PresharedKeys extends Service {
  /** Who is a peer now, and what is asked of them: before any of them gets an endpoint. @throws `TUNNEL_UNKNOWN`, `TUNNEL_FAILED` */
  update(peers: readonly PathPeer[], mode: PskMode): Promise<void>;
  states(): readonly PskLine[];
  /** False where a key is required and none was agreed on. */
  mayMeet(peer: PeerId): boolean;
}

/** One a process. */
export function createPskDoor(deps: { readonly control: ControlPlane; readonly clock: Clock }): PskDoor {
  return createPeerDoor(deps, { protocol: PSK_PROTOCOL, decode: decodeFirst });
}

/** Keys of one tunnel's peers; stopped, it leaves them as they are. */
export function createPresharedKeys(deps: PresharedKeysDeps, options: PresharedKeysOptions): PresharedKeys {
  return new TunnelPresharedKeys(deps, options);
}

interface Entry {
  readonly peer: PeerId;
  readonly key: PresharedPeer;
  /** Milliseconds since 1970: not before. */
  nextAt: number;
  tries: number;
  isAgreeing: boolean;
  /** Until then what stood before us is left; null = nothing did. */
  graceUntil: number | null;
}

class TunnelPresharedKeys implements PresharedKeys {
  readonly #deps: PresharedKeysDeps;
  readonly #options: PresharedKeysOptions;
  readonly #entries = new Map<PeerId, Entry>();
  readonly #limit: RateLimit;
  readonly #stopped: AbortController = new AbortController();
  #mode: PskMode = null;
  #opened: DisposableStack | undefined;

  constructor(deps: PresharedKeysDeps, options: PresharedKeysOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#limit = new RateLimit(deps.clock, { count: PER_MINUTE, perMs: 60_000, maxKeys: 4_096 });
  }

  start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    const { clock, control, door } = this.#deps;
    const opened = new DisposableStack();
    opened.defer(door.serve(this.#options.deployment, (stream, begin) => this.#visit(stream, begin)));
    opened.defer(control.onAdmitted(({ peer }) => this.#connected(peer)));
    let timer: Timer | undefined;
    const look = (): void => {
      this.#look();
      timer = clock.after(LOOK_MS, look);
    };
    timer = clock.after(LOOK_MS, look);
    opened.defer(() => timer?.cancel());
    this.#opened = opened;
    return Promise.resolve();
  }

  stop(): Promise<void> {
    if (this.#stopped.signal.aborted) return Promise.resolve();
    this.#stopped.abort(new MoatError('NETWORK_STOPPED', 'preshared keys are no longer agreed on'));
    this.#opened?.dispose();
    for (const { key } of this.#entries.values()) key.close();
    this.#entries.clear();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async update(peers: readonly PathPeer[], mode: PskMode): Promise<void> {
    const wanted = new Map(peers.map((peer) => [peer.peer, peer]));
    for (const [peer, { key }] of this.#entries) {
      if (wanted.get(peer)?.publicKey === key.publicKey) continue;
      this.#entries.delete(peer);
      key.close();
    }
    const before = this.#mode;
    this.#mode = mode;
    if (before !== mode) for (const entry of this.#entries.values()) await this.#changeMode(entry);
    const added = peers.filter(({ peer }) => !this.#entries.has(peer));
    if (added.length > 0) await this.#add(added);
    this.#look();
  }

  states(): readonly PskLine[] {
    return [...this.#entries.values()].map(({ peer, key }) => ({ peer, state: key.state, agreedAt: key.agreedAt }));
  }

  mayMeet(peer: PeerId): boolean {
    return this.#mode !== 'require' || this.#entries.get(peer)?.key.state !== 'none';
  }

  async #add(added: readonly PathPeer[]): Promise<void> {
    const { clock, control, tunnels } = this.#deps;
    const { deployment, publicKey, tunnel } = this.#options;
    const standing = new Map((await tunnels.peers(tunnel)).map((state) => [state.publicKey, state]));
    const self = { peer: control.self, publicKey };
    for (const other of added) {
      const place = { tunnel, publicKey: other.publicKey };
      const key = new PresharedPeer({ tunnels, clock }, { deployment, self, other, place });
      const entry: Entry = { peer: other.peer, key, nextAt: 0, tries: 0, isAgreeing: false, graceUntil: null };
      const handshakeAt = standing.get(other.publicKey)?.handshakeAt ?? null;
      const hasSession = handshakeAt !== null && clock.now() - handshakeAt < SESSION_MS;
      if (this.#mode === null) await key.open();
      else if (this.#mode === 'require' && !hasSession) await key.shut();
      else if (handshakeAt !== null) {
        // Whether that was with a key cannot be seen; it was what the contract asked for then.
        key.adopt();
        entry.graceUntil = clock.now() + GRACE_MS;
      }
      this.#entries.set(other.peer, entry);
    }
  }

  async #changeMode(entry: Entry): Promise<void> {
    const { key } = entry;
    entry.nextAt = 0;
    entry.tries = 0;
    if (this.#mode === null) await key.open();
    else if (this.#mode === 'require' && key.state !== 'pq') await key.shut();
    else if (this.#mode === 'prefer' && key.state === 'none') await key.open();
  }

  /** What a peer says, judged: only those of a pair, each side only what is its to say, and only so often. */
  async #visit(stream: MessageStream, first: FirstPskMessage): Promise<void> {
    const { peer } = stream.connection;
    const entry = this.#entries.get(peer);
    const isItsTurn = entry !== undefined && entry.key.isInitiator === (first.type === 'want');
    if (!isItsTurn || this.#mode === null || this.#limit.take(peer) > 0) {
      throw new MoatError('PATH_REFUSED', 'no such pair here');
    }
    if (first.type === 'begin') await entry.key.respond(stream, first, this.#stopped.signal);
    else if (!entry.isAgreeing) void this.#agree(entry);
    await stream.close();
  }

  /** Its agent may have begun anew and know nothing of ours. */
  #connected(peer: PeerId): void {
    const entry = this.#entries.get(peer);
    if (entry === undefined || this.#mode === null || !entry.key.isInitiator) return;
    const { agreedAt } = entry.key;
    const isFresh = agreedAt !== null && this.#deps.clock.now() - agreedAt < 10_000;
    if (!isFresh && !entry.isAgreeing) void this.#agree(entry);
  }

  #look(): void {
    if (this.#mode === null || this.#stopped.signal.aborted) return;
    const { clock, control, isAwake, logger } = this.#deps;
    const now = clock.now();
    const failed = (error: unknown): void =>
      logger.warn({ code: errorCode(error) }, 'a preshared key could not be changed');
    let free = AT_ONCE - [...this.#entries.values()].filter(({ isAgreeing }) => isAgreeing).length;
    for (const entry of this.#entries.values()) {
      const { key } = entry;
      key.doubt().catch(failed);
      if (this.#mode === 'require' && key.state === 'seed' && entry.graceUntil !== null && now >= entry.graceUntil) {
        entry.graceUntil = null;
        key.shut().catch(failed);
      }
      if (entry.isAgreeing || now < entry.nextAt || free <= 0) continue;
      const isOld = key.agreedAt === null || (key.isInitiator && now - key.agreedAt >= SERVES_MS);
      const isConnected = key.agreedAt === null && control.connections(entry.peer).length > 0;
      if (!isOld || !(isConnected || isAwake(entry.peer))) continue;
      free -= 1;
      void this.#agree(entry);
    }
  }

  /** The initiator thinks that all is well; we know better. */
  #want(stream: MessageStream, signal: AbortSignal): Promise<void> {
    return stream.write(encodePskMessage({ type: 'want', deployment: this.#options.deployment }), signal);
  }

  /** Agrees on a key, or has the initiator begin. */
  async #agree(entry: Entry): Promise<void> {
    const { clock, control, logger } = this.#deps;
    using deadline = createDeadline(clock, REACH_MS, this.#stopped.signal);
    const { signal } = deadline;
    entry.isAgreeing = true;
    try {
      const connection = await control.connect(entry.peer, signal);
      const stream = await control.open(connection, PSK_PROTOCOL, signal);
      try {
        if (entry.key.isInitiator) await entry.key.agree(stream, signal);
        else await this.#want(stream, signal);
        await stream.close();
      } catch (error) {
        stream.abort(error as Error);
        throw error;
      }
      if (entry.key.isInitiator) entry.tries = 0;
      entry.nextAt = entry.key.isInitiator ? 0 : clock.now() + WANTED_MS;
    } catch (error) {
      entry.nextAt = clock.now() + (AGAIN_MS[Math.min(entry.tries, AGAIN_MS.length - 1)] ?? 0);
      entry.tries += 1;
      if (!this.#stopped.signal.aborted)
        logger.debug({ peer: entry.peer, code: errorCode(error) }, 'no preshared key was agreed on');
    } finally {
      entry.isAgreeing = false;
    }
  }
}

function isFirst(message: PskMessage): message is FirstPskMessage {
  return 'deployment' in message;
}

function decodeFirst(message: Uint8Array): FirstPskMessage {
  const decoded = decodePskMessage(message);
  if (isFirst(decoded)) return decoded;
  throw new MoatError('PSK_INVALID', 'not the beginning of an agreement');
}
