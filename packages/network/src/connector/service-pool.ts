/**
 * Connections to the HTTP services of this machine, kept a little while for the next request.
 */
import type { Socket } from 'node:net';
import { MoatError, type Timer } from '@moat/core';
import type { IntroducedAddress, SocketAddress } from '../exposed.ts';
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
  /** The service sent the first `length` bytes of `buffer`, which is borrowed until the call returns. */
  onServiceData(buffer: Buffer, length: number): void;
  onServiceDrain(): void;
  /** The service sends no more. */
  onServiceEnd(): void;
  /** The connection is gone. */
  onServiceClose(): void;
  /** The time given with {@link ServiceConnection.expireIn} is over. */
  onServiceTimeout(): void;
}

/** What is open to one address. */
interface Target extends SocketAddress {
  readonly key: string;
  /** Connections to it are for one client each, and not kept. */
  readonly introduced: boolean;
  connections: number;
  /** The idle ones, used last at the end. */
  readonly idle: ServiceConnection[];
}

/** One connection; whoever took it from the pool is its only user. */
export class ServiceConnection {
  readonly socket: Socket;
  readonly target: Target;
  /** True when it carried a request before: then it may be closing just now. */
  reused = false;
  /** True once the target took the connection. */
  connected = false;
  /** When it expires, in the clock's milliseconds. */
  expiresAt: number = Infinity;
  readonly #now: () => number;
  #user: ConnectionUser | undefined;
  #detached: ((chunk: Buffer) => void) | undefined;

  constructor(
    connectSocket: (onRead: (buffer: Buffer, length: number) => void) => Socket,
    target: Target,
    now: () => number,
  ) {
    this.target = target;
    this.#now = now;
    const socket = connectSocket((buffer, length) => this.#onData(buffer, length));
    this.socket = socket;
    socket.on('connect', this.#onConnect);
    socket.on('drain', this.#onDrain);
    socket.on('end', this.#onEnd);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#user?.onServiceClose());
  }

  get idle(): boolean {
    return this.#user === undefined && this.#detached === undefined;
  }

  use(user: ConnectionUser): void {
    this.#user = user;
    this.expiresAt = Infinity;
  }

  /** The user hears of it when `ms` milliseconds are over: never earlier, and at most a second later. */
  expireIn(ms: number): void {
    this.expiresAt = this.#now() + ms;
  }

  /** Leaves it without a user: it is closed at the first look behind `idleMs`, and at once when anything arrives. */
  rest(idleMs: number): void {
    this.#user = undefined;
    this.reused = true;
    this.expiresAt = this.#now() + idleMs;
    if (this.socket.isPaused()) this.socket.resume();
  }

  expire(): void {
    this.expiresAt = Infinity;
    if (this.#user) this.#user.onServiceTimeout();
    else this.socket.destroy();
  }

  /** Gives the bare socket away, e.g. after 101, but for what it reads; the pool only counts it from now on. */
  detach(onData: (chunk: Buffer) => void): Socket {
    this.socket.off('drain', this.#onDrain).off('end', this.#onEnd);
    this.#user = undefined;
    this.#detached = onData;
    this.expiresAt = Infinity;
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
  #onData(buffer: Buffer, length: number): void {
    if (this.#user) this.#user.onServiceData(buffer, length);
    else if (this.#detached) this.#detached(buffer.subarray(0, length));
    else this.socket.destroy();
  }

  readonly #onDrain = (): void => this.#user?.onServiceDrain();

  readonly #onEnd = (): void => {
    if (this.#user) this.#user.onServiceEnd();
    else this.socket.destroy();
  };
}

/** Between two looks at the deadlines, in milliseconds: they are set by the thousand and hardly ever reached. */
const MAX_LOOK_MS = 500;

/** Owner of all its connections, until {@link ServicePool.close}. One timer for all of them, and none while there are none. */
export class ServicePool {
  readonly #deps: ConnectDeps;
  readonly #maxIdlePerTarget: number;
  readonly #maxConnections: number;
  readonly #idleMs: number;
  readonly #connectTimeoutMs: number;
  readonly #targets = new Map<string, Target>();
  /** The one asked for last: most machines have one service. */
  #last: Target | undefined;
  readonly #all = new Set<ServiceConnection>();
  readonly #lookMs: number;
  #timer: Timer | undefined;

  constructor(deps: ConnectDeps, options: ServicePoolOptions = {}) {
    this.#deps = deps;
    this.#maxIdlePerTarget = options.maxIdlePerTarget ?? 256;
    this.#maxConnections = options.maxConnections ?? 2_048;
    this.#idleMs = options.idleMs ?? 4_000;
    this.#connectTimeoutMs = options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS;
    this.#lookMs = Math.max(1, Math.min(MAX_LOOK_MS, this.#idleMs / 8));
  }

  get size(): number {
    return this.#all.size;
  }

  /**
   * The idle connection used last, or a new one that is still connecting. `fresh` asks for a new one; one that begins
   * with a preamble is new, and not kept.
   * @throws `SERVICE_BUSY`
   */
  take(address: IntroducedAddress, options: { readonly fresh: boolean }): ServiceConnection {
    const { preamble } = address;
    const target = preamble === undefined ? this.#target(address) : introduced(address);
    while (!options.fresh) {
      const kept = target.idle.pop();
      if (!kept) break;
      // A loop that stood still may not have looked yet.
      if (!kept.socket.destroyed && kept.expiresAt + this.#lookMs > this.#deps.clock.now()) return kept;
      kept.destroy();
    }
    if (this.#all.size >= this.#maxConnections) {
      throw new MoatError('SERVICE_BUSY', `${this.#maxConnections} connections to services are open`, {
        retryable: true,
      });
    }
    const connection = new ServiceConnection(
      (onRead) => connectTarget(this.#deps, target, { timeoutMs: this.#connectTimeoutMs, onRead }),
      target,
      () => this.#deps.clock.now(),
    );
    this.#all.add(connection);
    target.connections += 1;
    if (preamble === undefined) this.#targets.set(target.key, target);
    else connection.socket.write(preamble);
    connection.socket.once('close', () => this.#forget(connection));
    this.#timer ??= this.#arm();
    return connection;
  }

  /** Takes a connection back for later use; `keepAliveMs` is what the service promised. */
  give(connection: ServiceConnection, keepAliveMs: number | undefined): void {
    // One second earlier than promised: our next request must arrive before the service closes.
    const idleMs = keepAliveMs === undefined ? this.#idleMs : Math.min(this.#idleMs, keepAliveMs - 1_000);
    const { idle, introduced: isForOne } = connection.target;
    if (idleMs <= 0 || isForOne || connection.socket.destroyed || idle.length >= this.#maxIdlePerTarget) {
      connection.destroy();
      return;
    }
    // The look that finds it expired is a look late at most.
    connection.rest(idleMs - this.#lookMs);
    idle.push(connection);
  }

  /** Closes every connection, also busy ones. */
  close(): void {
    for (const connection of this.#all) connection.socket.destroy();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #target({ host, port }: SocketAddress): Target {
    const last = this.#last;
    if (last !== undefined && last.host === host && last.port === port) return last;
    const key = `${host} ${port}`;
    const target = this.#targets.get(key) ?? { host, port, key, introduced: false, connections: 0, idle: [] };
    this.#last = target;
    return target;
  }

  #arm(): Timer {
    return this.#deps.clock.after(this.#lookMs, () => {
      const now = this.#deps.clock.now();
      for (const connection of this.#all) {
        if (connection.expiresAt <= now) connection.expire();
      }
      this.#timer = this.#all.size === 0 ? undefined : this.#arm();
    });
  }

  #forget(connection: ServiceConnection): void {
    this.#all.delete(connection);
    const { target } = connection;
    const place = target.idle.indexOf(connection);
    if (place !== -1) target.idle.splice(place, 1);
    target.connections -= 1;
    if (target.connections === 0 && !target.introduced) this.#targets.delete(target.key);
  }
}

function introduced({ host, port }: SocketAddress): Target {
  return { host, port, key: `${host} ${port}`, introduced: true, connections: 0, idle: [] };
}
