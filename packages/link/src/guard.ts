/**
 * The door of the link port: reads 17 bytes, and lets only holders of a ticket come as far as TLS, and holders of an
 * anchor's id as far as another socket.
 * A socket that is silent, slow or wrong costs a file descriptor for at most 3 s and no TLS state.
 */
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';

import { MoatError, addressKey } from '@moat/core';
import type { Clock, Logger, Timer } from '@moat/core';

import { PREAMBLE_BYTES, isSplicePreamble, type SpentTicket } from './ticket.ts';

/** Bounds of sockets that have not become links. */
export interface GuardLimits {
  /** Milliseconds from accept to a finished handshake. @defaultValue 3000 */
  readonly finishMs: number;
  /** Unfinished sockets of one address (of one /64 in IPv6); its oldest is dropped. @defaultValue 16 */
  readonly perAddress: number;
  /** Unfinished sockets in all; the oldest is dropped. @defaultValue 512 */
  readonly total: number;
}

export const DEFAULT_GUARD_LIMITS: GuardLimits = { finishMs: 3000, perAddress: 16, total: 512 };

export interface GuardDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Spends the ticket a preamble names, if there is one. */
  readonly spend: (preamble: Buffer) => SpentTicket | undefined;
  /** Makes a link of a socket; the guard waits for it, and destroys the socket when it rejects or is too slow. */
  readonly admit: (socket: Socket, ticket: SpentTicket) => Promise<void>;
  /** Takes a socket that shall be joined with another; false when its preamble names no id given out. */
  readonly splice?: (preamble: Buffer, socket: Socket) => boolean;
}

interface Unfinished {
  readonly socket: Socket;
  readonly address: string;
  readonly timer: Timer;
}

/** Bound: {@link GuardLimits}. */
export class PortGuard {
  readonly #deps: GuardDeps;
  readonly #limits: GuardLimits;
  /** Oldest first. */
  readonly #unfinished = new Set<Unfinished>();
  #server: Server | undefined;

  constructor(deps: GuardDeps, limits: GuardLimits = DEFAULT_GUARD_LIMITS) {
    this.#deps = deps;
    this.#limits = limits;
  }

  /** The port it listens on. */
  get port(): number | undefined {
    return (this.#server?.address() as AddressInfo | null | undefined)?.port;
  }

  /** Sockets that have not become links yet. */
  get unfinished(): number {
    return this.#unfinished.size;
  }

  /** @throws the listen error of Node (`EADDRINUSE`, …) */
  async listen(host: string, port: number): Promise<void> {
    const server = createServer({ noDelay: true }, (socket) => this.#onSocket(socket));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host, port, backlog: 1024 }, () => {
        server.off('error', reject);
        resolve();
      });
    });
    // An accept that fails (no file descriptors) must not end the process; the kernel keeps the queue.
    server.on('error', (error) => this.#deps.logger.warn({ err: error }, 'the link port cannot accept'));
  }

  async close(): Promise<void> {
    for (const entry of this.#unfinished) this.#drop(entry);
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
    });
  }

  #onSocket(socket: Socket): void {
    const address = addressKey(socket.remoteAddress ?? '');
    socket.on('error', ignore);
    this.#makeRoom(address);
    const entry: Unfinished = {
      socket,
      address,
      timer: this.#deps.clock.after(this.#limits.finishMs, () => this.#drop(entry)),
    };
    this.#unfinished.add(entry);
    socket.once('close', () => this.#finish(entry));
    this.#readPreamble(entry);
  }

  /** The dialer says nothing more until it was answered, so more than 17 bytes are a stranger's. */
  #readPreamble(entry: Unfinished): void {
    const { socket } = entry;
    const preamble = Buffer.alloc(PREAMBLE_BYTES);
    let length = 0;
    const onData = (chunk: Buffer): void => {
      if (length + chunk.length > PREAMBLE_BYTES) return this.#drop(entry);
      length += chunk.copy(preamble, length);
      if (length < PREAMBLE_BYTES) return;
      socket.off('data', onData);
      if (isSplicePreamble(preamble)) {
        // From here on it is bounded by the ids that were given out.
        if (this.#deps.splice?.(preamble, socket) !== true) return this.#drop(entry);
        socket.off('end', onEnd);
        return void this.#finish(entry);
      }
      const ticket = this.#deps.spend(preamble);
      if (ticket === undefined) return this.#drop(entry);
      this.#deps.admit(socket, ticket).then(
        () => this.#finish(entry),
        (error: unknown) => {
          this.#deps.logger.debug(
            { peer: ticket.peer, remoteAddress: entry.address, err: error },
            'a link socket was refused',
          );
          this.#drop(entry);
        },
      );
    };
    const onEnd = (): void => this.#drop(entry);
    socket.on('data', onData);
    socket.once('end', onEnd);
  }

  #makeRoom(address: string): void {
    let ofAddress = 0;
    let oldest: Unfinished | undefined;
    for (const entry of this.#unfinished) {
      if (entry.address !== address) continue;
      ofAddress += 1;
      oldest ??= entry;
    }
    if (ofAddress >= this.#limits.perAddress && oldest !== undefined) this.#drop(oldest);
    else if (this.#unfinished.size >= this.#limits.total) {
      for (const entry of this.#unfinished) return this.#drop(entry);
    }
  }

  #drop(entry: Unfinished): void {
    if (!this.#finish(entry)) return;
    // A reset leaves no TIME_WAIT here and tells a scanner nothing.
    entry.socket.resetAndDestroy();
  }

  /** False when it was finished before. */
  #finish(entry: Unfinished): boolean {
    entry.timer.cancel();
    return this.#unfinished.delete(entry);
  }
}

const ignore = (): void => undefined;

/** A refused or broken handshake. */
export function handshakeError(code: 'TLS_REFUSED' | 'HANDSHAKE_TIMEOUT', message: string, cause?: unknown): MoatError {
  return new MoatError(code, message, { cause, retryable: true });
}
