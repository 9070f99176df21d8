/**
 * tunnel: one connection whose bytes nobody here reads, over a link to a member and back. Chooses a member, sends on what
 * the client has said, and tries the next one until a service is connected: before that no program has seen a byte.
 *
 * Back-pressure both ways as in `exchange`; half-close is kept; a break on one side is a reset on the other.
 */
import type { Socket } from 'node:net';
import { errorCode, type Arrival, type Bagged, type Clock, type Links, type LinkStream, type PeerId } from '@moat/core';
import { SocketChannel } from '@moat/link';
import type { GatewayErrorCode } from '../errors.ts';
import type { Route } from '../routes/snapshot.ts';
import { MemberChoice } from './choose.ts';
import type { ClientAddress } from './client-request.ts';
import { Output } from './http1-output.ts';
import { failureOf } from './stream-failure.ts';

export interface TunnelDeps {
  readonly clock: Clock;
  readonly links: Pick<Links, 'get' | 'connect'>;
}

export interface TunnelOptions {
  /** Time to get a link to a member that has none. */
  readonly connectMs: number;
  /** A connection on which nothing moves for so long ends. */
  readonly idleMs: number;
}

/** A connection as the phases before left it: paused. */
export interface TunnelWork {
  readonly socket: Socket;
  readonly client: ClientAddress;
  readonly route: Route;
  readonly arrival: Arrival;
  /** What was read of it already. */
  readonly first: Uint8Array | undefined;
  /** Asked before the others, while it has a link. */
  readonly preferred?: PeerId | undefined;
  /** Ends a connection that no service took; by default it is reset. */
  readonly refuse?: ((socket: Socket) => void) | undefined;
}

/** How a connection went. */
export interface TunnelOutcome {
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Undefined when both sides ended it. */
  readonly code: string | undefined;
  readonly peer: PeerId | undefined;
  readonly attempts: number;
}

export interface TunnelEvents {
  /** A service took the connection. */
  onConnected(): void;
  /** Called once, when nothing is left of it. */
  onDone(outcome: TunnelOutcome): void;
}

/** For all members together to say whether they have the service. */
const SERVICE_MS = 15_000;

/** Bound: what the first read brought, a window of the stream, and one buffer of output. */
export class Tunnel implements Bagged {
  /** In the bag of running ones. */
  place = -1;
  readonly work: TunnelWork;
  readonly #options: TunnelOptions;
  readonly #events: TunnelEvents;
  readonly #channel: SocketChannel;
  readonly #output: Output;
  readonly #choice: MemberChoice;
  #attempt: { readonly peer: PeerId; readonly stream: LinkStream } | undefined;
  #connected = false;
  #clientEnded = false;
  #serviceEnded = false;
  #over = false;
  #bytesIn: number;
  #bytesOut = 0;
  #lastCode: GatewayErrorCode = 'NO_MEMBER_CONNECTED';
  /** Bytes at the last look, and when they were others. */
  #seenBytes = -1;
  #seenMs = 0;
  readonly #startedMs: number;

  constructor(deps: TunnelDeps, options: TunnelOptions, work: TunnelWork, events: TunnelEvents) {
    this.work = work;
    this.#options = options;
    this.#events = events;
    this.#startedMs = deps.clock.now();
    this.#bytesIn = work.first?.length ?? 0;
    this.#choice = new MemberChoice(deps.links, work.route, work.preferred);
    this.#output = new Output(work.socket, {
      onWritten: () => undefined,
      onDrain: () => this.#attempt?.stream.resume(),
    });
    this.#channel = new SocketChannel(work.socket);
    this.#channel.pause();
    this.#channel.onData = (chunk) => this.#onClientData(chunk);
    this.#channel.onEnd = () => this.#onClientEnd();
    this.#channel.onClose = () => this.#onClientClose();
  }

  /** From the client, until now. */
  get bytesIn(): number {
    return this.#bytesIn;
  }

  /** To the client, until now. */
  get bytesOut(): number {
    return this.#bytesOut;
  }

  /** Starts it; to be called once. It may be over before this returns. */
  run(): void {
    if (this.work.socket.destroyed) this.#finish('CLIENT_GONE');
    else this.#open();
  }

  /** Ends it with `code`, as when its name is withdrawn. */
  end(code: GatewayErrorCode): void {
    this.#fail(code);
  }

  /** To call about every second: ends what waits too long. */
  watch(nowMs: number): void {
    if (this.#over) return;
    if (!this.#connected) {
      if (nowMs - this.#startedMs > SERVICE_MS) this.#fail('ANSWER_TIMEOUT');
      return;
    }
    const bytes = this.#bytesIn + this.#bytesOut;
    if (bytes !== this.#seenBytes) {
      this.#seenBytes = bytes;
      this.#seenMs = nowMs;
    } else if (nowMs - this.#seenMs > this.#options.idleMs) this.#fail('CONNECTION_IDLE');
  }

  #open(): void {
    for (;;) {
      const chosen = this.#choice.next();
      if (chosen === undefined) return this.#askForLink();
      const { peer, link } = chosen;
      try {
        const { deployment, service } = this.work.route;
        return this.#begin(peer, link.open({ deployment, service, kind: 'tcp' }, undefined, this.work.arrival));
      } catch (error) {
        this.#lastCode = failureOf(errorCode(error)).code;
        this.work.route.balancer.failure(peer);
      }
    }
  }

  #askForLink(): void {
    const asked = this.#choice.ask(this.#options.connectMs, () => {
      if (!this.#over) this.#open();
    });
    if (!asked) this.#fail(this.#lastCode);
  }

  #begin(peer: PeerId, stream: LinkStream): void {
    const attempt = { peer, stream };
    this.#attempt = attempt;
    this.work.route.balancer.begin(peer);
    const isCurrent = (): boolean => this.#attempt === attempt && !this.#over;
    stream.listen({
      onHead: () => (isCurrent() ? this.#onConnected(peer) : undefined),
      onData: (chunk) => (isCurrent() ? this.#onServiceData(chunk) : undefined),
      onEnd: () => (isCurrent() ? this.#onServiceEnd() : undefined),
      onDrain: () => (isCurrent() && this.#connected ? this.#channel.resume() : undefined),
      onClose: (code) => (isCurrent() ? this.#onStreamClose(code) : undefined),
    });
    // Less than a stream's first window; kept until somebody took it.
    if (this.work.first !== undefined) stream.write(this.work.first);
  }

  #onConnected(peer: PeerId): void {
    this.#connected = true;
    this.work.route.balancer.success(peer);
    this.#events.onConnected();
    this.#channel.resume();
  }

  #onClientData(chunk: Uint8Array): void {
    if (this.#over) return;
    this.#bytesIn += chunk.length;
    if (this.#attempt?.stream.write(chunk) === false) this.#channel.pause();
  }

  #onClientEnd(): void {
    this.#clientEnded = true;
    if (!this.#over) this.#attempt?.stream.end();
  }

  #onClientClose(): void {
    if (this.#over) return;
    // Both sides ended, and what the service said is with the client.
    if (this.#clientEnded && this.#serviceEnded && this.work.socket.writableFinished) this.#finish(undefined);
    else this.#finish('CLIENT_GONE');
  }

  #onServiceData(chunk: Uint8Array): void {
    this.#bytesOut += chunk.length;
    if (!this.#output.gather('', chunk, '')) this.#attempt?.stream.pause();
  }

  #onServiceEnd(): void {
    this.#serviceEnded = true;
    this.#output.flush();
    this.work.socket.end();
  }

  #onStreamClose(code: string | undefined): void {
    // After a clean end the socket closes once it has sent what it holds.
    if (this.#connected && code === undefined) return;
    if (this.#connected) return this.#fail(failureOf(code).code);
    this.#lastCode = failureOf(code).code;
    const { peer } = this.#release() ?? {};
    if (peer !== undefined) this.work.route.balancer.failure(peer);
    this.#open();
  }

  #fail(code: GatewayErrorCode): void {
    if (this.#over) return;
    const { socket, refuse } = this.work;
    const isTaken = this.#connected;
    this.#finish(code);
    if (!isTaken && refuse !== undefined) refuse(socket);
    else if ('encrypted' in socket) socket.destroy();
    else socket.resetAndDestroy();
  }

  #finish(code: GatewayErrorCode | undefined): void {
    if (this.#over) return;
    this.#over = true;
    this.#choice.end();
    const { peer, stream } = this.#release() ?? {};
    if (code !== undefined) stream?.reset(code);
    const { tries: attempts } = this.#choice;
    this.#events.onDone({ bytesIn: this.#bytesIn, bytesOut: this.#bytesOut, code, peer, attempts });
  }

  #release(): { readonly peer: PeerId; readonly stream: LinkStream } | undefined {
    const attempt = this.#attempt;
    this.#attempt = undefined;
    if (attempt !== undefined) this.work.route.balancer.end(attempt.peer);
    return attempt;
  }
}
