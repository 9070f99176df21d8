/**
 * HTTP/1.1 on client connections. Read in this order:
 *   http1 → http1-connection → http1-parser → http1-head → parse → http1-request → http1-answer
 * One timer watches all connections of a listener.
 */
import type { Socket } from 'node:net';
import type { Clock, Timer } from '@moat/core';
import type { ClientAddress } from './client-request.ts';
import { Http1Connection, type ConnectionDeps, type ConnectionOptions } from './http1-connection.ts';

export interface Http1Deps extends Omit<ConnectionDeps, 'now'> {
  readonly clock: Clock;
}

export class Http1 {
  readonly #deps: ConnectionDeps;
  readonly #clock: Clock;
  readonly #options: ConnectionOptions;
  readonly #connections = new Map<Socket, Http1Connection>();
  readonly #watchMs: number;
  #timer: Timer | undefined;
  #retiring = false;
  #stopping = false;

  constructor(deps: Http1Deps, options: ConnectionOptions) {
    const { clock, newId, serve, answerUnreadable } = deps;
    this.#clock = clock;
    this.#deps = { now: () => clock.now(), newId, serve, answerUnreadable };
    this.#options = options;
    this.#watchMs = Math.max(50, Math.min(1_000, options.headMs / 2));
  }

  /** Takes over a connection. `servername` is the handshake's, or empty without TLS. */
  accept(socket: Socket, client: ClientAddress, servername: string): void {
    if (this.#stopping) return void socket.destroy();
    const options = servername === '' ? this.#options : { ...this.#options, servername };
    const connection = new Http1Connection(this.#deps, options, { socket, client, servername });
    if (this.#retiring) connection.retire();
    this.#connections.set(socket, connection);
    socket.on('close', () => this.#connections.delete(socket));
    this.#watch();
  }

  /** Ends idle connections now and the others with their running answer. */
  drain(): void {
    this.#stopping = true;
    for (const connection of this.#connections.values()) connection.drain();
  }

  /** Every connection ends behind its next answer, those that come later too. */
  retire(): void {
    this.#retiring = true;
    for (const connection of this.#connections.values()) connection.retire();
  }

  /** Ends everything now. */
  stop(): void {
    this.#stopping = true;
    this.#timer?.cancel();
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  #watch(): void {
    this.#timer ??= this.#clock.after(this.#watchMs, () => {
      this.#timer = undefined;
      const now = this.#clock.now();
      for (const connection of this.#connections.values()) connection.watch(now);
      if (this.#connections.size > 0) this.#watch();
    });
  }
}
