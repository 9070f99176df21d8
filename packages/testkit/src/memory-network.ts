/** The memory twin of the ControlPlane port: peers that meet in one process. */
import { MoatError } from '@moat/core';
import type { ByteChannel, ControlPlane, HandlerOptions, MessageStream, PeerConnection, PeerId } from '@moat/core';

import { createChannelPair, type MemoryChannelPair } from './memory-channel.ts';
import { createMessagePair } from './memory-messages.ts';

export interface MemoryConnectOptions {
  /** The connection has no address of its own, as over an anchor. @defaultValue false */
  readonly relayed?: boolean;
  /** False leaves it on probation: only protocols for `anyone` run. @defaultValue true */
  readonly admitted?: boolean;
}

/** Peers in one process. */
export interface MemoryNetwork {
  /** Adds a peer; its control plane works at once. */
  join(peer: PeerId): ControlPlane;
  /** Connects two peers and returns the dialer's side. @throws `PEER_UNREACHABLE` */
  connect(from: PeerId, to: PeerId, options?: MemoryConnectOptions): PeerConnection;
  /** Closes every connection between two peers. */
  disconnect(a: PeerId, b: PeerId): void;
  /** The peer's machine is gone without a word: nothing arrives, nothing closes, dials fail. */
  vanish(peer: PeerId): void;
}

/** A network without peers. */
export function createMemoryNetwork(): MemoryNetwork {
  const peers = new Map<PeerId, MemoryControlPlane>();
  const find = (peer: PeerId): MemoryControlPlane => {
    const plane = peers.get(peer);
    if (plane === undefined || plane.vanished) throw unreachable(peer);
    return plane;
  };
  const connect = (from: PeerId, to: PeerId, options: MemoryConnectOptions = {}): PeerConnection => {
    const dialer = find(from);
    const acceptor = find(to);
    const outbound = new MemoryConnection(to, 'outbound', options);
    const inbound = new MemoryConnection(from, 'inbound', options);
    outbound.far = { plane: acceptor, connection: inbound };
    inbound.far = { plane: dialer, connection: outbound };
    dialer.add(outbound);
    acceptor.add(inbound);
    return outbound;
  };
  return {
    join(peer) {
      const plane = new MemoryControlPlane(peer, (to) => connect(peer, to));
      peers.set(peer, plane);
      return plane;
    },
    connect,
    disconnect(a, b) {
      for (const connection of peers.get(a)?.connections(b) ?? []) (connection as MemoryConnection).close();
    },
    vanish(peer) {
      const plane = peers.get(peer);
      if (plane === undefined) return;
      plane.vanished = true;
      for (const connection of plane.connections()) (connection as MemoryConnection).sever();
    },
  };
}

let nextId = 1;

class MemoryConnection implements PeerConnection {
  readonly id: string = `memory-${nextId++}`;
  readonly peer: PeerId;
  readonly direction: 'inbound' | 'outbound';
  readonly remote: { readonly host: string; readonly port: number } | null;
  readonly admitted: boolean;
  readonly closing: AbortController = new AbortController();
  readonly closed: AbortSignal = this.closing.signal;
  readonly channels = new Set<MemoryChannelPair>();
  readonly streams = new Map<string, number>();
  far: { readonly plane: MemoryControlPlane; readonly connection: MemoryConnection } | undefined;
  severed = false;

  constructor(peer: PeerId, direction: 'inbound' | 'outbound', options: MemoryConnectOptions) {
    this.peer = peer;
    this.direction = direction;
    this.remote = options.relayed ? null : { host: '127.0.0.1', port: 4410 };
    this.admitted = options.admitted ?? true;
  }

  /** True when a peer on this connection may open one more stream of this protocol. */
  allows(protocol: string, options: HandlerOptions): boolean {
    if (options.audience === 'admitted' && !this.admitted) return false;
    return (this.streams.get(protocol) ?? 0) < (options.maxStreams ?? 4);
  }

  /** Counts one stream until the returned function is called. */
  take(protocol: string): () => void {
    this.streams.set(protocol, (this.streams.get(protocol) ?? 0) + 1);
    return () => void this.streams.set(protocol, (this.streams.get(protocol) ?? 1) - 1);
  }

  close(): void {
    for (const connection of [this, this.far?.connection]) {
      for (const pair of connection?.channels ?? []) pair.a.destroy(new Error('connection closed'));
      connection?.closing.abort(new MoatError('STREAM_ENDED', 'connection closed'));
    }
  }

  sever(): void {
    for (const connection of [this, this.far?.connection]) {
      if (connection === undefined) continue;
      connection.severed = true;
      for (const pair of connection.channels) pair.sever();
    }
  }
}

type MessageHandler = (stream: MessageStream) => Promise<void>;
type BytesHandler = (channel: ByteChannel, connection: PeerConnection) => void;

class MemoryControlPlane implements ControlPlane {
  readonly self: PeerId;
  vanished = false;
  readonly #dial: (peer: PeerId) => PeerConnection;
  readonly #connections = new Set<MemoryConnection>();
  readonly #messages = new Map<string, { readonly handler: MessageHandler; readonly options: HandlerOptions }>();
  readonly #bytes = new Map<string, { readonly handler: BytesHandler; readonly options: HandlerOptions }>();
  readonly #listeners = new Set<(connection: PeerConnection) => void>();

  constructor(self: PeerId, dial: (peer: PeerId) => PeerConnection) {
    this.self = self;
    this.#dial = dial;
  }

  add(connection: MemoryConnection): void {
    this.#connections.add(connection);
    connection.closed.addEventListener('abort', () => this.#connections.delete(connection), { once: true });
    if (connection.admitted) {
      queueMicrotask(() => {
        for (const listener of this.#listeners) listener(connection);
      });
    }
  }

  connections(peer?: PeerId): readonly PeerConnection[] {
    return [...this.#connections]
      .filter((connection) => peer === undefined || connection.peer === peer)
      .sort((a, b) => Number(a.remote === null) - Number(b.remote === null));
  }

  connect(peer: PeerId, signal: AbortSignal): Promise<PeerConnection> {
    return new Promise((resolve) => {
      signal.throwIfAborted();
      resolve(this.connections(peer)[0] ?? this.#dial(peer));
    });
  }

  improve(): void {
    // Connections are made by the test.
  }

  async open(connection: PeerConnection, protocol: string, signal: AbortSignal): Promise<MessageStream> {
    const { local, far } = await this.#reach(connection, signal);
    const served = far.plane.#messages.get(protocol);
    if (served === undefined || !far.connection.allows(protocol, served.options)) throw unsupported(protocol);
    const pair = createMessagePair(local, far.connection);
    const release = far.connection.take(protocol);
    pair.b.onFinished = release;
    setImmediate(() => {
      served.handler(pair.b).catch((error: unknown) => pair.b.abort(error as Error));
    });
    return pair.a;
  }

  handle(protocol: string, handler: MessageHandler, options: HandlerOptions): void {
    this.#messages.set(protocol, { handler, options });
  }

  async openBytes(connection: PeerConnection, protocol: string, signal: AbortSignal): Promise<ByteChannel> {
    const { local, far } = await this.#reach(connection, signal);
    const served = far.plane.#bytes.get(protocol);
    if (served === undefined || !far.connection.allows(protocol, served.options)) throw unsupported(protocol);
    const pair = createChannelPair();
    local.channels.add(pair);
    setImmediate(() => served.handler(pair.b, far.connection));
    return pair.a;
  }

  handleBytes(protocol: string, handler: BytesHandler, options: HandlerOptions): void {
    this.#bytes.set(protocol, { handler, options });
  }

  onAdmitted(listener: (connection: PeerConnection) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Both ends of a connection that stands; waits for the signal when the far machine vanished. */
  async #reach(connection: PeerConnection, signal: AbortSignal): Promise<Reached> {
    signal.throwIfAborted();
    const local = connection as MemoryConnection;
    if (local.closed.aborted || local.far === undefined) throw unreachable(connection.peer);
    if (local.severed) {
      await new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      });
    }
    return { local, far: local.far };
  }
}

interface Reached {
  readonly local: MemoryConnection;
  readonly far: { readonly plane: MemoryControlPlane; readonly connection: MemoryConnection };
}

function unreachable(peer: PeerId): MoatError {
  return new MoatError('PEER_UNREACHABLE', 'no way to this peer', { details: { peer }, retryable: true });
}

function unsupported(protocol: string): MoatError {
  return new MoatError('PROTOCOL_UNSUPPORTED', 'the peer does not serve this protocol', { details: { protocol } });
}
