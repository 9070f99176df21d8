/**
 * Connections to the HTTP services of this machine, kept a little while for the next request.
 */
import type { Socket } from 'node:net';
import { MoatError } from '@moat/core';
import type { SocketAddress } from '../exposed.ts';
import { CONNECT_TIMEOUT_MS, connectTarget, type ConnectDeps } from './connect.ts';

export interface ServicePoolOptions {
  /** Idle connections a target. Drop rule: one more is closed instead of kept. @defaultValue 256 */
  readonly maxIdlePerTarget?: number;
  /** Connections in all, idle and busy; more are refused with `SERVICE_BUSY`. @defaultValue 2048 */
  readonly maxConnections?: number;
  /** An idle connection is closed after this; below the 5 s of Node and the 15 s and more of others. @defaultValue 4000 */
  readonly idleMs?: number;
  /** @defaultValue 5000 */
  readonly connectTimeoutMs?: number;
}

/** Who uses a connection now. */
export interface ConnectionUser {
  /** `chunk` is borrowed until the call returns. */
  onData(chunk: Buffer): void;
  onDrain(): void;
  /** The service sends no more. */
  onEnd(): void;
  /** The connection is gone. */
  onClose(): void;
}

/** One connection; whoever took it from the pool is its only user. */
export class ServiceConnection {
  readonly socket: Socket;
  readonly target: SocketAddress;
  /** True when it carried a request before: then it may be closing just now. */
  reused = false;
  /** True once the target took the connection. */
  connected = false;
  #user: ConnectionUser | undefined;
  #detached: ((chunk: Buffer) => void) | undefined;

  constructor(connectSocket: (onRead: (chunk: Buffer) => void) => Socket, target: SocketAddress) {
    this.target = target;
    const socket = connectSocket((chunk) => this.#onData(chunk));
    this.socket = socket;
    socket.on('connect', this.#onConnect);
    socket.on('drain', this.#onDrain);
    socket.on('end', this.#onEnd);
    socket.on('timeout', () => socket.destroy());
    socket.on('error', () => undefined);
    socket.on('close', () => this.#user?.onClose());
  }

  get idle(): boolean {
    return this.#user === undefined;
  }

  use(user: ConnectionUser): void {
    this.#user = user;
    this.socket.setTimeout(0);
  }

  /** Leaves it without a user: closes itself after `idleMs`, or at once when anything arrives. */
  rest(idleMs: number): void {
    this.#user = undefined;
    this.reused = true;
    this.socket.setTimeout(idleMs);
    this.socket.resume();
  }

  /** Gives the bare socket away, e.g. after 101, but for what it reads; the pool only counts it from now on. */
  detach(onData: (chunk: Buffer) => void): Socket {
    this.socket.off('drain', this.#onDrain).off('end', this.#onEnd);
    this.#user = undefined;
    this.#detached = onData;
    return this.socket;
  }

  destroy(): void {
    this.#user = undefined;
    this.socket.destroy();
  }

  readonly #onConnect = (): void => {
    this.connected = !this.socket.destroyed;
  };

  /** Bytes on an idle connection belong to no request; they must not become the next answer. */
  #onData(chunk: Buffer): void {
    if (this.#user) this.#user.onData(chunk);
    else if (this.#detached) this.#detached(chunk);
    else this.socket.destroy();
  }

  readonly #onDrain = (): void => this.#user?.onDrain();

  readonly #onEnd = (): void => {
    if (this.#user) this.#user.onEnd();
    else this.socket.destroy();
  };
}

/** Owner of all its connections, until {@link ServicePool.close}. */
export class ServicePool {
  readonly #deps: ConnectDeps;
  readonly #maxIdlePerTarget: number;
  readonly #maxConnections: number;
  readonly #idleMs: number;
  readonly #connectTimeoutMs: number;
  readonly #idle = new Map<string, ServiceConnection[]>();
  readonly #all = new Set<ServiceConnection>();

  constructor(deps: ConnectDeps, options: ServicePoolOptions = {}) {
    this.#deps = deps;
    this.#maxIdlePerTarget = options.maxIdlePerTarget ?? 256;
    this.#maxConnections = options.maxConnections ?? 2_048;
    this.#idleMs = options.idleMs ?? 4_000;
    this.#connectTimeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
  }

  get size(): number {
    return this.#all.size;
  }

  /**
   * The idle connection used last, or a new one that is still connecting. `fresh` asks for a new one.
   * @throws `SERVICE_BUSY`
   */
  take(target: SocketAddress, options: { readonly fresh: boolean }): ServiceConnection {
    const kept = options.fresh ? undefined : this.#kept(target);
    if (kept) return kept;
    if (this.#all.size >= this.#maxConnections) {
      throw new MoatError('SERVICE_BUSY', `${this.#maxConnections} connections to services are open`, {
        retryable: true,
      });
    }
    const connection = new ServiceConnection(
      (onRead) => connectTarget(this.#deps, target, { timeoutMs: this.#connectTimeoutMs, onRead }),
      target,
    );
    this.#all.add(connection);
    connection.socket.once('close', () => this.#forget(connection));
    return connection;
  }

  /** Takes a connection back for later use; `keepAliveMs` is what the service promised. */
  give(connection: ServiceConnection, keepAliveMs: number | undefined): void {
    // One second earlier than promised: our next request must arrive before the service closes.
    const idleMs = Math.min(this.#idleMs, keepAliveMs === undefined ? this.#idleMs : keepAliveMs - 1_000);
    const key = keyOf(connection.target);
    const resting = this.#idle.get(key) ?? [];
    if (idleMs <= 0 || connection.socket.destroyed || resting.length >= this.#maxIdlePerTarget) {
      connection.destroy();
      return;
    }
    connection.rest(idleMs);
    resting.push(connection);
    this.#idle.set(key, resting);
  }

  /** Closes every connection, also busy ones. */
  close(): void {
    for (const connection of this.#all) connection.socket.destroy();
    this.#idle.clear();
  }

  #kept(target: SocketAddress): ServiceConnection | undefined {
    const resting = this.#idle.get(keyOf(target)) ?? [];
    for (let connection = resting.pop(); connection; connection = resting.pop()) {
      if (!connection.socket.destroyed) return connection;
    }
    return undefined;
  }

  #forget(connection: ServiceConnection): void {
    this.#all.delete(connection);
    const key = keyOf(connection.target);
    const resting = this.#idle.get(key)?.filter((each) => each !== connection);
    if (resting === undefined) return;
    if (resting.length === 0) this.#idle.delete(key);
    else this.#idle.set(key, resting);
  }
}

function keyOf(target: SocketAddress): string {
  return `${target.host} ${target.port}`;
}
