/**
 * What the packages of layer 2 need of the overlay: authenticated connections and small messages.
 * `overlay` implements it over libp2p; testkit has a memory twin.
 */
import type { PeerId } from '../ids.ts';
import type { ByteChannel } from './bytes.ts';

/** One authenticated connection to a peer. */
export interface PeerConnection {
  readonly id: string;
  readonly peer: PeerId;
  readonly direction: 'inbound' | 'outbound';
  /** Where the bytes go; null when an anchor relays them. */
  readonly remote: { readonly host: string; readonly port: number } | null;
  /** Aborted when the connection is gone. */
  readonly closed: AbortSignal;
}

/** Whole messages, length-prefixed, at most 64 KiB each. */
export interface MessageStream {
  readonly connection: PeerConnection;
  /** The next message. @throws `STREAM_ENDED`, `MESSAGE_TOO_LARGE`, or the signal's reason. */
  read(signal: AbortSignal): Promise<Uint8Array>;
  /** @throws `MESSAGE_TOO_LARGE`, `STREAM_ENDED`, or the signal's reason. */
  write(message: Uint8Array, signal: AbortSignal): Promise<void>;
  /** Ends our direction. */
  close(): Promise<void>;
  /** Ends both directions now. */
  abort(reason: Error): void;
}

/** Who may open a protocol: anyone, or only peers past probation. */
export type Audience = 'anyone' | 'admitted';

export interface HandlerOptions {
  readonly audience: Audience;
  /** Streams of this protocol that one connection may have open; more are reset. @defaultValue 4 */
  readonly maxStreams?: number;
}

export interface ControlPlane {
  readonly self: PeerId;
  /** Open connections, direct ones first. */
  connections(peer?: PeerId): readonly PeerConnection[];
  /** An open connection to `peer`, dialing known addresses when there is none. @throws `PEER_UNREACHABLE` */
  connect(peer: PeerId, signal: AbortSignal): Promise<PeerConnection>;
  /** Tries in the background for a direct connection to a peer that is reached through an anchor. */
  improve(peer: PeerId): void;
  /** @throws `PEER_UNREACHABLE`, `PROTOCOL_UNSUPPORTED` */
  open(connection: PeerConnection, protocol: string, signal: AbortSignal): Promise<MessageStream>;
  /** Serves a protocol; a rejected handler aborts its stream. */
  handle(protocol: string, handler: (stream: MessageStream) => Promise<void>, options: HandlerOptions): void;
  /** One stream as a byte channel, paced so that at most 1 MiB waits unsent. */
  openBytes(connection: PeerConnection, protocol: string, signal: AbortSignal): Promise<ByteChannel>;
  handleBytes(
    protocol: string,
    handler: (channel: ByteChannel, connection: PeerConnection) => void,
    options: HandlerOptions,
  ): void;
  /** Called for each connection that leaves probation; returns the way to unsubscribe. */
  onAdmitted(listener: (connection: PeerConnection) => void): () => void;
}
