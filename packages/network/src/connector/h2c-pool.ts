/**
 * Sessions of HTTP/2 to the services of this machine: few to one address, each for many streams. A session whose service
 * said that it leaves (GOAWAY) takes no new stream; one without streams is closed after a while; one that is silent while
 * streams wait is asked by PING, and given up where no answer comes.
 */
import { connect, type ClientHttp2Session } from 'node:http2';
import type { Socket } from 'node:net';
import { MoatError, type Timer } from '@moat/core';
import type { SocketAddress } from '../exposed.ts';
import { CONNECT_TIMEOUT_MS, abortSocket, connectTarget, type ConnectDeps } from './connect.ts';

export interface H2cPoolOptions {
  /** Sessions to one address. @defaultValue 16 */
  readonly maxPerTarget?: number;
  /** Sessions in all; more are refused with `SERVICE_BUSY`. @defaultValue 256 */
  readonly maxSessions?: number;
  /** Streams of one session, where the service allows as many. @defaultValue 256 */
  readonly maxStreams?: number;
  /** A session without streams is closed after this. @defaultValue 60000 */
  readonly idleMs?: number;
  /** Silence after which a session with streams is asked whether it lives; services punish those who ask often. @defaultValue 300000 */
  readonly silentMs?: number;
  /** Time for the answer. @defaultValue 20000 */
  readonly pingMs?: number;
  /** @defaultValue 5000 */
  readonly connectTimeoutMs?: number;
}

/** One connection to a service. */
export class H2cSession {
  readonly session: ClientHttp2Session;
  readonly socket: Socket;
  streams = 0;
  /** True once the target took the connection. */
  connected = false;
  /** True once the service has said what it allows. */
  spokeHttp2 = false;
  /** Since when it has no streams. */
  idleSinceMs = 0;
  /** What it had read at the last look, and when that was less. */
  readBytes = 0;
  heardMs = 0;
  pinged = false;
  #leaving = false;

  constructor(session: ClientHttp2Session, socket: Socket) {
    this.session = session;
    this.socket = socket;
    socket.once('connect', () => (this.connected = !socket.destroyed));
    session.once('remoteSettings', () => (this.spokeHttp2 = true));
    session.on('goaway', () => (this.#leaving = true));
    // Its streams hear of it.
    session.on('error', () => undefined);
    socket.on('error', () => undefined);
    // A service that died sends no GOAWAY, and of a half-open socket a session does not hear that it ended.
    socket.once('end', () => {
      this.#leaving = true;
      socket.end();
    });
  }

  /** Streams it may still take. */
  room(max: number): number {
    const { session } = this;
    if (this.#leaving || session.closed || session.destroyed) return 0;
    const allowed = this.spokeHttp2 ? (session.remoteSettings.maxConcurrentStreams ?? max) : max;
    return Math.min(max, allowed) - this.streams;
  }
}

/** Bytes a service may send ahead, on one stream and on all of a session. */
const STREAM_WINDOW = 256 * 1_024;
const SESSION_WINDOW = 4 * 1_024 * 1_024;
/** Between two looks at the deadlines. */
const LOOK_MS = 1_000;

/** Owner of all its sessions, until {@link H2cPool.close}. One timer for all of them, and none while there are none. */
export class H2cPool {
  readonly #deps: ConnectDeps;
  readonly #options: Required<H2cPoolOptions>;
  readonly #targets = new Map<string, H2cSession[]>();
  #size = 0;
  #timer: Timer | undefined;

  constructor(deps: ConnectDeps, options: H2cPoolOptions = {}) {
    this.#deps = deps;
    this.#options = {
      maxPerTarget: options.maxPerTarget ?? 16,
      maxSessions: options.maxSessions ?? 256,
      maxStreams: options.maxStreams ?? 256,
      idleMs: options.idleMs ?? 60_000,
      silentMs: options.silentMs ?? 300_000,
      pingMs: options.pingMs ?? 20_000,
      connectTimeoutMs: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
    };
  }

  get size(): number {
    return this.#size;
  }

  /**
   * A place for one stream, on a session that may still be connecting; each is given back once.
   * @throws `SERVICE_BUSY`
   */
  take(target: SocketAddress): H2cSession {
    const key = `${target.host} ${target.port}`;
    const sessions = this.#targets.get(key) ?? [];
    let best: H2cSession | undefined;
    for (const each of sessions) {
      // The fullest that has room, so that others become idle.
      if (each.room(this.#options.maxStreams) > 0 && each.streams >= (best?.streams ?? 0)) best = each;
    }
    best ??= this.#connect(target, key, sessions);
    best.streams += 1;
    return best;
  }

  give(session: H2cSession): void {
    session.streams -= 1;
    if (session.streams === 0) session.idleSinceMs = this.#deps.clock.now();
  }

  /** Closes every session, also busy ones. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const sessions of this.#targets.values()) for (const each of sessions) each.session.destroy();
  }

  #connect(target: SocketAddress, key: string, sessions: H2cSession[]): H2cSession {
    const { maxPerTarget, maxSessions, connectTimeoutMs } = this.#options;
    if (sessions.length >= maxPerTarget || this.#size >= maxSessions) {
      throw new MoatError('SERVICE_BUSY', `${sessions.length} sessions to the service are open`, { retryable: true });
    }
    const socket = connectTarget(this.#deps, target, { timeoutMs: connectTimeoutMs });
    const session = connect('http://service.invalid', {
      createConnection: () => socket,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW },
      // In MB; every stream is bounded by its window and by what the link takes.
      maxSessionMemory: 64,
    });
    session.once('connect', () => {
      if (!session.destroyed) session.setLocalWindowSize(SESSION_WINDOW);
    });
    const opened = new H2cSession(session, socket);
    opened.heardMs = opened.idleSinceMs = this.#deps.clock.now();
    sessions.push(opened);
    this.#targets.set(key, sessions);
    this.#size += 1;
    session.once('close', () => {
      abortSocket(socket);
      sessions.splice(sessions.indexOf(opened), 1);
      if (sessions.length === 0) this.#targets.delete(key);
      this.#size -= 1;
    });
    this.#timer ??= this.#arm();
    return opened;
  }

  #arm(): Timer {
    return this.#deps.clock.after(LOOK_MS, () => {
      const now = this.#deps.clock.now();
      for (const sessions of this.#targets.values()) for (const each of sessions) this.#look(each, now);
      this.#timer = this.#size === 0 ? undefined : this.#arm();
    });
  }

  #look(each: H2cSession, now: number): void {
    const { session, socket } = each;
    if (session.destroyed) return;
    if (each.streams === 0) {
      if (now - each.idleSinceMs >= this.#options.idleMs) session.close();
      each.heardMs = now;
      return;
    }
    if (socket.bytesRead !== each.readBytes) {
      each.readBytes = socket.bytesRead;
      each.heardMs = now;
      each.pinged = false;
    } else if (each.pinged) {
      if (now - each.heardMs >= this.#options.silentMs + this.#options.pingMs) session.destroy();
    } else if (now - each.heardMs >= this.#options.silentMs) {
      each.pinged = true;
      session.ping(() => undefined);
    }
  }
}
