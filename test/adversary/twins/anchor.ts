/**
 * A hostile anchor: our host and our relay messages with another middle. It relays honestly, flips bytes, swallows
 * them, connects to somebody else, or names somebody else, as `mode` says; and it keeps what it saw.
 */
import { silentLogger, systemClock, type PeerId } from '@moat/core';
import { createNodeKey, toLibp2pPrivateKey, type NodeKey } from '@moat/identity';
import { DEFAULT_LIMITS } from '../../../packages/overlay/src/limits.ts';
import { createHost, type Host } from '../../../packages/overlay/src/host.ts';
import { RelayStream } from '../../../packages/overlay/src/relay-stream.ts';
import {
  HOP_PROTOCOL,
  RELAY_STATUS,
  STOP_PROTOCOL,
  decodeHopRequest,
  decodeStopStatus,
  encodeHopStatus,
  encodeStopConnect,
} from '../../../packages/overlay/src/relay-wire.ts';

import { SPLICE_PROTOCOL } from '../../../packages/link/src/splice-messages.ts';
import type { HostileSplice } from './splice.ts';

type Connection = Awaited<ReturnType<Host['dial']>>;
export type Stream = Awaited<ReturnType<Connection['newStream']>>;

export type Mode = 'honest' | 'tamper' | 'withhold' | 'refuse' | 'misdirect' | 'misname';

/** Bytes kept of what passed. */
const SEEN_BYTES = 8 * 1024 * 1024;

export class HostileAnchor implements AsyncDisposable {
  readonly key: NodeKey = createNodeKey();
  mode: Mode = 'honest';
  /** Whom `misdirect` connects to instead, and whom `misname` names. */
  other: PeerId | undefined;
  /** Where sockets are joined; absent = it joins none. */
  splice: HostileSplice | undefined;
  /** Relayed connections that were asked for. */
  asked = 0;
  readonly #reserved = new Map<PeerId, Connection>();
  readonly #streams = new Set<Stream>();
  readonly #seen: Buffer[] = [];
  #seenBytes = 0;
  #host: Host | undefined;

  static async start(): Promise<HostileAnchor> {
    const anchor = new HostileAnchor();
    anchor.#host = await createHost(
      {
        logger: silentLogger,
        clock: systemClock,
        privateKey: await toLibp2pPrivateKey(anchor.key),
        gate: () => Promise.resolve(),
        prepare: async (libp2p) => {
          const options = { maxInboundStreams: 256, maxOutboundStreams: 256, runOnLimitedConnection: true };
          await libp2p.handle(HOP_PROTOCOL, (stream, connection) => anchor.#serve(stream, connection), options);
          const splice = async (stream: Stream): Promise<void> => {
            if (anchor.splice === undefined) stream.abort(new Error('no splice here'));
            else await anchor.splice.serve(stream);
          };
          await libp2p.handle(SPLICE_PROTOCOL, splice, options);
        },
        onConnection: () => undefined,
        onNeighbour: () => undefined,
        onIdentified: () => undefined,
        isInside: () => false,
      },
      { listen: ['/ip4/127.0.0.1/tcp/0'], announce: [], mdns: false, limits: DEFAULT_LIMITS },
    );
    return anchor;
  }

  /** Multiaddr with its PeerId. */
  get address(): string {
    return `${this.#host?.addresses()[0]}/p2p/${this.key.peerId}`;
  }

  get reserved(): readonly PeerId[] {
    return [...this.#reserved.keys()];
  }

  /** What passed through it, as it saw it. */
  get seen(): Buffer {
    return Buffer.concat(this.#seen);
  }

  /** Cuts everything it relays; its reservations stay. */
  cut(): void {
    for (const stream of this.#streams) stream.abort(new Error('cut'));
  }

  /** Speaks a protocol to a machine that reserved here, and gives what it answered within two seconds. */
  async say(peer: PeerId, protocol: string, bytes: Uint8Array): Promise<Buffer> {
    const chunks: Buffer[] = [];
    try {
      const stream = await this.#reserved.get(peer)?.newStream(protocol, { signal: AbortSignal.timeout(2000) });
      if (stream === undefined) throw new Error('not reserved here');
      const { promise, resolve } = Promise.withResolvers<void>();
      stream.addEventListener('message', ({ data }) => void chunks.push(Buffer.from(data.subarray())));
      for (const event of ['end', 'close'] as const) stream.addEventListener(event, () => resolve());
      stream.send(bytes);
      AbortSignal.timeout(2000).addEventListener('abort', () => resolve());
      await promise;
      stream.abort(new Error('done'));
    } catch {
      // an answer it does not get is no answer
    }
    return Buffer.concat(chunks);
  }

  async #serve(stream: Stream, connection: Connection): Promise<void> {
    const hop = new RelayStream(stream);
    const signal = AbortSignal.timeout(10_000);
    const source = connection.remotePeer.toString();
    const request = decodeHopRequest(await hop.read(signal));
    if (request.kind === 'reserve') {
      this.#reserved.set(source, connection);
      hop.write(encodeHopStatus(RELAY_STATUS.ok, Math.floor(Date.now() / 1000) + 3600));
      await stream.close();
      return;
    }
    this.asked += 1;
    const peer = this.mode === 'misdirect' ? (this.other ?? request.peer) : request.peer;
    const target = this.#reserved.get(peer);
    if (this.mode === 'refuse' || target === undefined || target.status !== 'open') {
      hop.write(encodeHopStatus(RELAY_STATUS.noReservation));
      await stream.close();
      return;
    }
    const far = await target.newStream(STOP_PROTOCOL, {
      signal,
      runOnLimitedConnection: true,
      maxOutboundStreams: 256,
    });
    const stop = new RelayStream(far);
    stop.write(encodeStopConnect(this.mode === 'misname' ? (this.other ?? source) : source));
    const status = decodeStopStatus(await stop.read(signal));
    hop.write(encodeHopStatus(status === RELAY_STATUS.ok ? RELAY_STATUS.ok : RELAY_STATUS.connectionFailed));
    if (status !== RELAY_STATUS.ok) return;
    this.#pump(hop, stop);
    this.#pump(stop, hop);
  }

  #pump(from: RelayStream, to: RelayStream): void {
    const { stream } = from;
    this.#streams.add(stream);
    const early = from.detach();
    const pass = (bytes: Uint8Array): void => {
      this.#keep(bytes);
      if (this.mode === 'withhold') return;
      const copy = Buffer.from(bytes);
      const at = copy.length >> 1;
      if (this.mode === 'tamper') copy[at] = (copy[at] ?? 0) ^ 1;
      if (to.stream.status === 'open') to.stream.send(copy);
    };
    stream.addEventListener('message', ({ data }) => pass(data.subarray()));
    stream.addEventListener('close', () => {
      this.#streams.delete(stream);
      to.stream.abort(new Error('the other side ended'));
    });
    if (early.length > 0) pass(early);
    if (stream.readStatus === 'paused') stream.resume();
  }

  #keep(bytes: Uint8Array): void {
    if (this.#seenBytes > SEEN_BYTES) return;
    this.#seenBytes += bytes.length;
    this.#seen.push(Buffer.from(bytes));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#host?.libp2p.stop();
  }
}
