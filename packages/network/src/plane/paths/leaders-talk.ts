/** The leader's end of a stream of `/moat/path/1`. */
import { MoatError, type Clock, type Endpoint, type MessageStream, type Tunnels } from '@moat/core';

import { createDeadline } from '../deadline.ts';
import { decodePathMessage, encodePathMessage, type OfferedEnd, type PathMessage } from './path-messages.ts';
import { punch, type PunchOrder, type TunnelPlace } from './punch.ts';

/** Milliseconds until the peer has asked its anchors and answered. */
const ANSWER_MS = 6_000;
/** Messages that a peer may send after its answer. */
const MOST_MESSAGES = 64;

export class LeadersTalk {
  readonly #deps: { readonly clock: Clock; readonly tunnels: Tunnels };
  readonly #stream: MessageStream;
  readonly #over: AbortController = new AbortController();
  readonly #heard = new Set<number>();
  /** Aborted when the exchange is over, or the peer says no more. */
  readonly signal: AbortSignal;

  constructor(deps: { readonly clock: Clock; readonly tunnels: Tunnels }, stream: MessageStream, parent: AbortSignal) {
    this.#deps = deps;
    this.#stream = stream;
    this.signal = AbortSignal.any([this.#over.signal, parent]);
  }

  say(message: PathMessage): Promise<void> {
    return this.#stream.write(encodePathMessage(message), this.signal);
  }

  /** @throws `PATH_REFUSED` with the peer's code, `PATH_INVALID`, `PATH_TIMEOUT` */
  async answer(): Promise<OfferedEnd> {
    using deadline = createDeadline(this.#deps.clock, ANSWER_MS, this.signal);
    const message = decodePathMessage(await this.#stream.read(deadline.signal));
    if (message.type === 'answer') return message;
    const code = message.type === 'refused' ? message.code : 'PATH_INVALID';
    throw new MoatError('PATH_REFUSED', 'the peer does not agree on a path now', { details: { code } });
  }

  /** From now on the peer says only where it hears us; its leaving ends the exchange. */
  listen(): void {
    this.#listen().catch((error: unknown) => this.#over.abort(error));
  }

  /** Tries one way; where the peer was heard when it heard us too, else null. */
  async punch(
    place: TunnelPlace,
    attempt: number,
    order: Omit<PunchOrder, 'agreed' | 'onHeard'>,
  ): Promise<Endpoint | null> {
    const agreed = (): boolean => this.#heard.has(attempt);
    const endpoint = await punch(this.#deps, place, { ...order, agreed, onHeard: () => undefined }, this.signal);
    return agreed() ? endpoint : null;
  }

  end(): void {
    // What was said last still has to arrive.
    this.#stream.close().catch(() => undefined);
    this.#over.abort(new MoatError('STREAM_ENDED', 'the exchange is over'));
  }

  async #listen(): Promise<void> {
    for (let count = 0; count < MOST_MESSAGES; count++) {
      const message = decodePathMessage(await this.#stream.read(this.signal));
      if (message.type !== 'heard') throw new MoatError('PATH_INVALID', 'only what was heard is to be said here');
      this.#heard.add(message.attempt);
    }
    throw new MoatError('PATH_INVALID', 'the peer says too much');
  }
}
