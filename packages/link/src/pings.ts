import { MoatError } from '@moat/core';

import { FRAME, frameError } from './frame.ts';
import type { FrameWriter } from './frame-writer.ts';

/** Questions on their way; more are refused with `LINK_BACKLOG`. */
const MAX_PINGS = 64;
const PING_BYTES = 9;
const QUESTION = 0;
const ANSWER = 1;

interface Ping {
  readonly sentAt: number;
  readonly resolve: ((rttMs: number) => void) | undefined;
  /** Bytes of the link's frames up to the question, itself included. */
  readonly offset: number;
  /** Asked among other frames, so that its round trip says how much waits and not how far the peer is. */
  readonly mark: boolean;
}

/** The pings of one link. Round trips are measured by the monotonic clock, which tests never need to step. */
export class Pings {
  readonly #writer: FrameWriter;
  readonly #onAcknowledged: (offset: number) => void;
  readonly #waiting = new Map<number, Ping>();
  #next = 1;
  #rttMs: number | undefined;
  #leastRttMs = Number.POSITIVE_INFINITY;

  /** `onAcknowledged` hears how many bytes of frames the peer has: an answer says that all before its question arrived. */
  constructor(writer: FrameWriter, onAcknowledged: (offset: number) => void = () => undefined) {
    this.#writer = writer;
    this.#onAcknowledged = onAcknowledged;
  }

  /** Round trip of the last answer in milliseconds. */
  get rttMs(): number | undefined {
    return this.#rttMs;
  }

  /** The shortest round trip since {@link forget}: of all, the one that waited least. */
  get leastRttMs(): number {
    return this.#leastRttMs;
  }

  /** The path is another. */
  forget(): void {
    this.#leastRttMs = Number.POSITIVE_INFINITY;
  }

  /** Asks how far the peer has read, and nothing else. */
  mark(): void {
    this.#makeRoom();
    this.#ask(undefined, true);
  }

  /** Asks; the answer only updates {@link rttMs}. The oldest unanswered one is forgotten when too many wait. */
  send(): void {
    this.#makeRoom();
    this.#ask(undefined);
  }

  #makeRoom(): void {
    if (this.#waiting.size >= MAX_PINGS)
      for (const oldest of this.#waiting.keys()) {
        this.#waiting.delete(oldest);
        break;
      }
  }

  /** Asks and waits. @throws `LINK_BACKLOG`, or the signal's reason. */
  ask(signal: AbortSignal): Promise<number> {
    return new Promise((resolve, reject) => {
      signal.throwIfAborted();
      if (this.#waiting.size >= MAX_PINGS)
        throw new MoatError('LINK_BACKLOG', 'too many pings wait', { retryable: true });
      const onAbort = (): void => {
        this.#waiting.delete(token);
        reject(signal.reason as Error);
      };
      const token = this.#ask((rttMs) => {
        signal.removeEventListener('abort', onAbort);
        resolve(rttMs);
      });
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** @throws `FRAME_INVALID` */
  receive(payload: Buffer): void {
    const direction = payload[0];
    if (direction === QUESTION) {
      const answer = Buffer.from(payload);
      answer[0] = ANSWER;
      return this.#writer.frame(FRAME.ping, 0, answer);
    }
    if (direction !== ANSWER) throw frameError('FRAME_INVALID', 'a ping neither asks nor answers', {});
    const token = payload.readUInt32BE(5);
    const ping = this.#waiting.get(token);
    if (ping === undefined) return;
    this.#waiting.delete(token);
    const rttMs = performance.now() - ping.sentAt;
    this.#leastRttMs = Math.min(this.#leastRttMs, rttMs);
    this.#onAcknowledged(ping.offset);
    if (ping.mark) return;
    this.#rttMs = rttMs;
    ping.resolve?.(this.#rttMs);
  }

  #ask(resolve: Ping['resolve'], mark: boolean = false): number {
    const token = this.#next;
    this.#next = (this.#next + 1) >>> 0;
    const payload = Buffer.alloc(PING_BYTES);
    payload.writeUInt32BE(token, 5);
    this.#writer.frame(FRAME.ping, 0, payload);
    this.#waiting.set(token, { sentAt: performance.now(), resolve, offset: this.#writer.writtenBytes, mark });
    return token;
  }
}
