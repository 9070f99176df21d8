/**
 * HTTP/2 on client connections. Read in this order:
 *   http2 → http2-connection → http2-head → parse → http2-request
 * One timer watches all connections of a listener, a faster one those that are new or send much.
 *
 * Bound: {@link MAX_QUEUED_BYTES} wait for all clients together. Above it the connection for which most waits is ended.
 */
import { constants } from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { Clock, Timer } from '@moat/core';
import type { ClientAddress } from './client-request.ts';
import { Http2Connection, type Http2ConnectionDeps, type Http2Options } from './http2-connection.ts';

export interface Http2Deps extends Omit<Http2ConnectionDeps, 'now' | 'onQueued'> {
  readonly clock: Clock;
}

/** A connection of a hundred slow downloads holds 25 MiB of it. */
const MAX_QUEUED_BYTES = 256 * 1_024 * 1_024;
const LOOK_MS = 50;

export class Http2 {
  readonly #deps: Http2ConnectionDeps;
  readonly #clock: Clock;
  readonly #options: Http2Options;
  readonly #connections = new Map<TLSSocket, Http2Connection>();
  readonly #watchMs: number;
  #queued = 0;
  #timer: Timer | undefined;
  /** Those that are new or send much. */
  readonly #busy = new Set<Http2Connection>();
  #busyTimer: Timer | undefined;
  #retiring = false;
  #stopping = false;

  constructor(deps: Http2Deps, options: Http2Options) {
    const { clock, ...others } = deps;
    this.#clock = clock;
    this.#deps = { ...others, now: () => clock.now(), onQueued: (bytes) => this.#onQueued(bytes) };
    this.#options = options;
    this.#watchMs = Math.max(50, Math.min(1_000, options.headMs / 2));
  }

  /** Takes over a connection whose client chose `h2`. */
  accept(socket: TLSSocket, client: ClientAddress, servername: string): void {
    if (this.#stopping) return void socket.destroy();
    const connection = new Http2Connection(this.#deps, this.#options, { socket, client, servername });
    this.#connections.set(socket, connection);
    socket.once('close', () => {
      this.#connections.delete(socket);
      this.#busy.delete(connection);
    });
    this.#busy.add(connection);
    if (this.#retiring) connection.drain();
    this.#watch();
    this.#look();
  }

  /** Running requests are answered, new ones refused. */
  drain(): void {
    this.#stopping = true;
    this.retire();
  }

  /** Clients are asked to go on over another connection, those that come later too. */
  retire(): void {
    this.#retiring = true;
    for (const connection of this.#connections.values()) connection.drain();
  }

  /** Ends everything now. */
  stop(): void {
    this.#stopping = true;
    this.#timer?.cancel();
    this.#busyTimer?.cancel();
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  #onQueued(bytes: number): void {
    this.#queued += bytes;
    if (bytes <= 0 || this.#queued <= MAX_QUEUED_BYTES) return;
    let largest: Http2Connection | undefined;
    for (const each of this.#connections.values()) if (each.queued > (largest?.queued ?? 0)) largest = each;
    if (largest === undefined) return;
    this.#deps.onAbuse(largest.client, largest.servername, 'memory');
    largest.end(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #watch(): void {
    this.#timer ??= this.#clock.after(this.#watchMs, () => {
      this.#timer = undefined;
      const now = this.#clock.now();
      for (const connection of this.#connections.values()) {
        if (connection.isBusy) this.#busy.add(connection);
        connection.watch(now);
      }
      if (this.#connections.size > 0) this.#watch();
      this.#look();
    });
  }

  #look(): void {
    if (this.#busy.size === 0) return;
    this.#busyTimer ??= this.#clock.after(LOOK_MS, () => {
      this.#busyTimer = undefined;
      const now = this.#clock.now();
      for (const connection of this.#busy) if (!connection.look(now)) this.#busy.delete(connection);
      this.#look();
    });
  }
}
