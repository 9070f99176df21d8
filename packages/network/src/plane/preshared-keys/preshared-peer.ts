/**
 * The preshared key of one pair. WireGuard mixes it into the next handshake and leaves the running session alone, so both
 * sides may change it a moment apart. The responder installs first; where a stream breaks between the two, each side
 * keeps both keys and changes between them, at its own pace, until a handshake works or a new key is agreed on.
 */
import { createHmac, randomBytes } from 'node:crypto';

import { MoatError, type Clock, type DeploymentId, type MessageStream, type Tunnels } from '@moat/core';

import { createDeadline } from '../deadline.ts';
import { ID_BYTES, PskInitiation, isProof, respondPsk, type PskContext, type PskEnd } from './psk-agreement.ts';
import { decodePskMessage, encodePskMessage, type BeginPskMessage, type PskMessage } from './psk-messages.ts';
import { peerOf, type TunnelPlace } from '../paths/punch.ts';

/** Milliseconds of an agreement. */
const AGREE_MS = 5_000;
/** A session this old, in milliseconds, should have been renewed: handshakes fail. WireGuard begins at 120 s, and gives up at 180 s. */
const OVERDUE_MS = 125_000;
/** Milliseconds with one of two keys; different, so that the two sides meet. */
const CHANGE_MS = { initiator: 10_000, responder: 25_000 } as const;

/**
 * - `none`: no key that both have; nothing passes where one is required.
 * - `seed`: one that stood before this agent began.
 * - `pq`: agreed on by both, safe from a quantum computer of the future.
 */
export type PskState = 'none' | 'seed' | 'pq';

export interface PresharedPeerDeps {
  readonly tunnels: Tunnels;
  readonly clock: Clock;
}

export interface PresharedPeerOptions {
  readonly deployment: DeploymentId;
  readonly self: PskEnd;
  readonly other: PskEnd;
  readonly place: TunnelPlace;
}

export class PresharedPeer {
  readonly #deps: PresharedPeerDeps;
  readonly #options: PresharedPeerOptions;
  readonly isInitiator: boolean;
  #state: PskState = 'none';
  /** Milliseconds since 1970 of the last agreement. */
  #agreedAt: number | null = null;
  /** What the interface has; undefined = not known here. */
  #current: string | null | undefined;
  /** The other that the peer may have instead. */
  #doubt: string | null | undefined;
  /** The newest that was agreed on, by us at least. */
  #agreedKey: string | undefined;
  #changedAt = 0;
  #running: AbortController | undefined;

  constructor(deps: PresharedPeerDeps, options: PresharedPeerOptions) {
    this.#deps = deps;
    this.#options = options;
    this.isInitiator = options.self.peer < options.other.peer;
  }

  get state(): PskState {
    return this.#state;
  }

  get agreedAt(): number | null {
    return this.#agreedAt;
  }

  get publicKey(): string {
    return this.#options.other.publicKey;
  }

  /** What stands was agreed on by an agent before this one. */
  adopt(): void {
    this.#state = 'seed';
  }

  /** No key: handshakes work with whoever has none either. */
  async open(): Promise<void> {
    await this.#forget(null);
  }

  /** A key that nobody else has: no handshake works until one is agreed on. */
  async shut(): Promise<void> {
    await this.#forget(randomBytes(32).toString('base64'));
  }

  /** The initiator's side. @throws `PSK_INVALID`, `PATH_TIMEOUT`, and what the stream and the tunnel throw */
  async agree(stream: MessageStream, parent: AbortSignal): Promise<void> {
    await this.#alone(parent, async (signal) => {
      const { clock } = this.#deps;
      const { deployment } = this.#options;
      const initiation = new PskInitiation();
      const epoch = clock.now();
      await say(stream, { type: 'begin', deployment, epoch, holds: idOf(this.#current), ...initiation.begin }, signal);
      const reply = await hear(stream, 'reply', signal);
      const agreed = initiation.finish(this.#context(epoch), reply);
      if (!isProof(reply.proof, agreed.responderProof)) throw new MoatError('PSK_INVALID', 'the peer has another key');
      // From here on the peer may use it.
      this.#agreedKey = agreed.presharedKey;
      this.#doubt = agreed.presharedKey;
      await say(stream, { type: 'commit', proof: agreed.initiatorProof }, signal);
      await hear(stream, 'installed', signal);
      await this.#install(agreed.presharedKey);
      this.#agreed();
      await say(stream, { type: 'done' }, signal);
    });
  }

  /** The responder's side. @throws as {@link agree} */
  async respond(stream: MessageStream, begin: BeginPskMessage, parent: AbortSignal): Promise<void> {
    await this.#alone(parent, async (signal) => {
      await this.#align(begin.holds);
      const { agreed, reply } = respondPsk(this.#context(begin.epoch), begin);
      await say(stream, { type: 'reply', ...reply, proof: agreed.responderProof }, signal);
      const { proof } = await hear(stream, 'commit', signal);
      if (!isProof(proof, agreed.initiatorProof)) throw new MoatError('PSK_INVALID', 'the peer has another key');
      const before = this.#current;
      this.#agreedKey = agreed.presharedKey;
      await this.#install(agreed.presharedKey);
      this.#doubt = before;
      await say(stream, { type: 'installed' }, signal);
      await hear(stream, 'done', signal);
      this.#agreed();
    });
  }

  /** Where the two sides may have different keys: one that a handshake worked with is the one; where they fail, takes the other. @throws `TUNNEL_UNKNOWN`, `TUNNEL_FAILED` */
  async doubt(): Promise<void> {
    const other = this.#doubt;
    if (other === undefined || this.#current === undefined || this.#running !== undefined) return;
    const { clock, tunnels } = this.#deps;
    const now = clock.now();
    const handshakeAt = (await peerOf(tunnels, this.#options.place))?.handshakeAt ?? 0;
    if (this.#running !== undefined || this.#doubt !== other) return;
    if (handshakeAt > this.#changedAt) {
      this.#doubt = undefined;
      if (this.#current === this.#agreedKey) this.#agreed();
      return;
    }
    const paceMs = CHANGE_MS[this.isInitiator ? 'initiator' : 'responder'];
    if (now - handshakeAt < OVERDUE_MS || now - this.#changedAt < paceMs) return;
    const before = this.#current;
    await this.#install(other);
    this.#doubt = before;
  }

  /** What the initiator has now, where we know it, is what we have: an agreement that broke off leaves no doubt for long. */
  async #align(holds: Uint8Array | null): Promise<void> {
    const known = [this.#current, this.#doubt].find((key) => isSameId(idOf(key), holds));
    if (holds === null || known === undefined) return;
    if (this.#current !== known) await this.#install(known);
    this.#doubt = undefined;
  }

  close(): void {
    this.#running?.abort(new MoatError('NETWORK_STOPPED', 'the pair is no more'));
  }

  #agreed(): void {
    this.#doubt = undefined;
    this.#state = 'pq';
    this.#agreedAt = this.#deps.clock.now();
  }

  async #forget(presharedKey: string | null): Promise<void> {
    this.close();
    this.#state = 'none';
    this.#agreedAt = null;
    this.#doubt = undefined;
    await this.#install(presharedKey);
  }

  async #install(presharedKey: string | null): Promise<void> {
    const { tunnel, publicKey } = this.#options.place;
    await this.#deps.tunnels.setPeer(tunnel, publicKey, { presharedKey });
    this.#current = presharedKey;
    this.#changedAt = this.#deps.clock.now();
  }

  /** The newest agreement ends an older one. */
  async #alone(parent: AbortSignal, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#running?.abort(new MoatError('STREAM_ENDED', 'a newer agreement begins'));
    const running = new AbortController();
    this.#running = running;
    using deadline = createDeadline(this.#deps.clock, AGREE_MS, AbortSignal.any([parent, running.signal]));
    try {
      await work(deadline.signal);
    } finally {
      if (this.#running === running) this.#running = undefined;
    }
  }

  #context(epoch: number): PskContext {
    const { deployment, other, self } = this.#options;
    const [initiator, responder] = this.isInitiator ? [self, other] : [other, self];
    return { deployment, initiator, responder, epoch };
  }
}

/** Tells one key from another, and nothing of it. */
function idOf(key: string | null | undefined): Uint8Array | null {
  if (key === null || key === undefined) return null;
  return createHmac('sha256', Buffer.from(key, 'base64')).update('moat/psk/1 id').digest().subarray(0, ID_BYTES);
}

function isSameId(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a !== null && b !== null && Buffer.from(a).equals(b);
}

function say(stream: MessageStream, message: PskMessage, signal: AbortSignal): Promise<void> {
  return stream.write(encodePskMessage(message), signal);
}

async function hear<T extends PskMessage['type']>(
  stream: MessageStream,
  type: T,
  signal: AbortSignal,
): Promise<Extract<PskMessage, { readonly type: T }>> {
  const message = decodePskMessage(await stream.read(signal));
  if (message.type === type) return message as Extract<PskMessage, { readonly type: T }>;
  throw new MoatError('PSK_INVALID', 'the peer may not say that here');
}
