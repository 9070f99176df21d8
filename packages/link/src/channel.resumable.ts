/**
 * A byte channel that outlives its sockets: what was sent and not acknowledged is kept, and when another socket stands
 * both sides say how much arrived and go on from there. Whether the old path died or was given up makes no difference.
 * docs/adr/0008-links-that-move.md has the measurements; test/bench/link.ts guards the hot path (`write`, `onData`).
 */
import { MoatError } from '@moat/core';
import type { ByteChannel, Clock, Timer } from '@moat/core';

import { encodeGreeting, readGreeting, silence } from './greeting.ts';
import { Retained } from './retained.ts';

/** Milliseconds a link lives without any path. */
export const LOST_MS = 30_000;
/** Milliseconds for the answer to a greeting. */
const GREET_MS = 3000;
/** Bytes kept for a peer that reads on and acknowledges nothing; beyond it the link ends with `LINK_BACKLOG`. */
const MAX_RETAINED_BYTES = 32 * 1024 * 1024;

/**
 * To a peer that answers faster than this no more is on its way than so much: the rest would only wait in buffers of the
 * kernel, and what is kept for it would not fit into the processor's cache (measured: a fifth more CPU a byte).
 */
const NEAR_MS = 4;
const NEAR_BYTES = 2 * 1024 * 1024;

export interface ResumableDeps {
  readonly clock: Clock;
  /** The last path is gone; find another. */
  readonly onLost: () => void;
}

export interface ResumableOptions {
  /** base64url; both sides call the link so. */
  readonly id: string;
  /** The side that dialed the link at first; when both move at once its attempt wins. */
  readonly wins: boolean;
}

/** Bounds: 32 MiB kept, usually no more than the link's window; 30 s without a path, then `LINK_LOST`. */
export class ResumableChannel implements ByteChannel {
  onData: (chunk: Uint8Array) => void = () => undefined;
  onDrain: () => void = () => undefined;
  onEnd: () => void = () => undefined;
  onClose: (error?: Error) => void = () => undefined;
  readonly id: string;
  readonly #deps: ResumableDeps;
  readonly #wins: boolean;
  readonly #retained = new Retained();
  #channel: ByteChannel | undefined;
  /** A channel of ours whose greeting is not answered. */
  #moving: { readonly channel: ByteChannel; readonly fail: (error: Error) => void } | undefined;
  #received = 0;
  /** Offset that the channel has; behind it waits what is sent again, or was written meanwhile. */
  #cursor = 0;
  /** Offset that any channel ever had. */
  #sent = 0;
  #needsDrain = false;
  /** The channel takes no more for now. */
  #blocked = false;
  #ahead = Number.POSITIVE_INFINITY;
  #paused = false;
  #over = false;
  #closed = false;
  #lost: Timer | undefined;

  constructor(deps: ResumableDeps, options: ResumableOptions, channel: ByteChannel) {
    this.#deps = deps;
    this.id = options.id;
    this.#wins = options.wins;
    this.#use(channel);
  }

  /** True while there is no path, and none is being taken. */
  get lost(): boolean {
    return this.#channel === undefined && this.#moving === undefined;
  }

  get bufferedBytes(): number {
    return this.#retained.end - this.#sent + (this.#channel?.bufferedBytes ?? 0);
  }

  write(chunk: Uint8Array, onTaken?: () => void): boolean {
    if (this.#over) return false;
    const retained = this.#retained;
    const channel = this.#cursor === retained.end ? this.#channel : undefined;
    const taken = retained.add(chunk, onTaken);
    if (channel === undefined) {
      this.#needsDrain = true;
      this.#checkBound();
      return false;
    }
    this.#cursor = retained.end;
    this.#sent = retained.end;
    this.#blocked = !channel.write(chunk, taken);
    if (!this.#blocked && retained.bytes < this.#ahead) return true;
    this.#needsDrain = true;
    this.#checkBound();
    return false;
  }

  /** The peer has everything before `offset`. */
  acknowledged(offset: number): void {
    const retained = this.#retained;
    if (!retained.acknowledge(offset)) return this.#end(new MoatError('FRAME_INVALID', 'more arrived than was sent'));
    if (this.#needsDrain && !this.#blocked && retained.bytes < this.#ahead / 2) this.#pump();
  }

  /** How far away the peer is, in milliseconds: that decides how much may be on its way. */
  near(rttMs: number): void {
    this.#ahead = rttMs < NEAR_MS ? NEAR_BYTES : Number.POSITIVE_INFINITY;
  }

  pause(): void {
    this.#paused = true;
    this.#channel?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#channel?.resume();
  }

  /** Nothing is sent again from here on, so nothing is kept while the peer reads the rest. */
  end(): void {
    this.#over = true;
    this.#lost?.cancel();
    this.#retained.clear();
    if (this.#channel === undefined) this.#close(undefined);
    else this.#channel.end();
  }

  destroy(error?: Error): void {
    this.#over = true;
    this.#lost?.cancel();
    if (this.#channel === undefined) this.#close(error);
    else this.#channel.destroy(error);
  }

  /** Gives the path up, as it answers no more; nothing changes where there is none. */
  lose(): void {
    if (this.#over || this.#channel === undefined) return;
    if (this.#wins && this.#received === 0) {
      // The peer may never have heard of this link.
      return this.#end(new MoatError('LINK_LOST', 'the path broke before the peer said anything', { retryable: true }));
    }
    this.#leave();
    this.#deps.onLost();
  }

  /**
   * Goes on over a channel that this side dialed. The old path is given up before the answer comes.
   * @throws `LINK_LOST` when the peer knows the link no more, which ends it; the channel's failure; `HANDSHAKE_TIMEOUT`.
   */
  move(channel: ByteChannel): Promise<void> {
    if (this.#over || this.#moving !== undefined) {
      channel.destroy();
      return Promise.reject(new MoatError('LINK_FAILED', 'the link is over, or moves already', { retryable: true }));
    }
    this.#leave();
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => {
        timer.cancel();
        this.#moving = undefined;
        reject(error);
        silence(channel);
        channel.destroy();
        if (!this.#over && this.#channel === undefined) this.#deps.onLost();
      };
      const timer = this.#deps.clock.after(GREET_MS, () =>
        fail(new MoatError('HANDSHAKE_TIMEOUT', 'the peer did not answer on a new path', { retryable: true })),
      );
      this.#moving = { channel, fail };
      readGreeting(
        channel,
        ({ kind, id, received }) => {
          if (kind !== 'goes on' || id !== this.id) {
            const error = new MoatError('LINK_LOST', 'the peer knows this link no more', { retryable: true });
            this.#end(error);
            return fail(error);
          }
          timer.cancel();
          this.#moving = undefined;
          this.#goOn(channel, received);
          resolve();
        },
        fail,
      );
      channel.write(encodeGreeting({ kind: 'goes on', id: this.id, received: this.#received }));
    });
  }

  /** Goes on over a channel that the peer dialed, who has `received` bytes; false when this side moves itself, and wins. */
  take(channel: ByteChannel, received: number): boolean {
    if (this.#over || (this.#moving !== undefined && this.#wins)) return false;
    this.#leave();
    const moving = this.#moving;
    channel.write(encodeGreeting({ kind: 'goes on', id: this.id, received: this.#received }));
    this.#goOn(channel, received);
    moving?.fail(new MoatError('LINK_FAILED', 'the peer moved the link first', { retryable: true }));
    return true;
  }

  /** Resends from `received`, which the peer has, and goes on. */
  #goOn(channel: ByteChannel, received: number): void {
    const retained = this.#retained;
    this.#use(channel);
    if (received < retained.start || !retained.acknowledge(received)) {
      return this.#end(new MoatError('FRAME_INVALID', 'the link cannot go on where the peer wants'));
    }
    retained.disown();
    this.#cursor = received;
    this.#needsDrain = true;
    this.#pump();
  }

  #use(channel: ByteChannel): void {
    this.#lost?.cancel();
    this.#lost = undefined;
    this.#channel = channel;
    channel.onData = (chunk) => {
      this.#received += chunk.length;
      this.onData(chunk);
    };
    channel.onDrain = () => {
      this.#blocked = false;
      this.#pump();
    };
    this.#blocked = false;
    channel.onEnd = () => {
      if (this.#over) this.onEnd();
      else this.lose();
    };
    channel.onClose = (error) => {
      if (this.#over) this.#close(error);
      else this.lose();
    };
    if (this.#paused) channel.pause();
  }

  /** Sends what the channel does not have yet. */
  #pump(): void {
    const retained = this.#retained;
    const channel = this.#channel;
    if (channel === undefined) return;
    while (this.#cursor < retained.end) {
      const bytes = retained.at(this.#cursor);
      if (bytes === undefined) break;
      this.#cursor += bytes.length;
      this.#sent = Math.max(this.#sent, this.#cursor);
      this.#blocked = !channel.write(bytes);
      // Its drain event comes back here.
      if (this.#blocked) return;
    }
    if (!this.#needsDrain) return;
    this.#needsDrain = false;
    this.onDrain();
  }

  /** Nothing more is read from the old path: what arrives later was not received. */
  #leave(): void {
    const channel = this.#channel;
    this.#channel = undefined;
    if (channel !== undefined) {
      silence(channel);
      channel.destroy();
    }
    this.#lost ??= this.#deps.clock.after(LOST_MS, () => {
      this.#end(new MoatError('LINK_LOST', 'no path led to the peer for 30 s', { retryable: true }));
    });
  }

  #checkBound(): void {
    if (this.#retained.bytes <= MAX_RETAINED_BYTES) return;
    this.#end(new MoatError('LINK_BACKLOG', 'the peer acknowledges nothing', { retryable: true }));
  }

  /** Ends without the peer. */
  #end(error: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#lost?.cancel();
    const channel = this.#channel;
    if (channel === undefined) return this.#close(error);
    silence(channel);
    channel.destroy();
    this.#close(error);
  }

  #close(error: Error | undefined): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#channel = undefined;
    this.#retained.clear();
    const moving = this.#moving;
    moving?.fail(error ?? new MoatError('LINK_CLOSED', 'the link is over'));
    setImmediate(() => this.onClose(error));
  }
}
