/**
 * Streams between two peers: what `link` offers to `network`, `node` and `gateway`.
 * A `tcp` stream carries bytes both ways. An `http` stream carries a structured head, a body and
 * trailers each way, never raw HTTP/1.1 (RFC 9110 §6 semantics). A `packets` stream carries whole datagrams of the
 * WireGuard plane between two members, framed by its users.
 */
import type { DeploymentId, PeerId } from '../ids.ts';

export type StreamKind = 'tcp' | 'http' | 'packets';

/** What a stream is for; checked by the accepting side on every open. */
export interface OpenRequest {
  readonly deployment: DeploymentId;
  /** Empty on `packets`, which are for no service. */
  readonly service: string;
  readonly kind: StreamKind;
}

/**
 * Header or trailer fields in order, names in lower case. A list is never changed once it was given away: a link knows a
 * list it had lately, and hands over the same list for the same bytes, so that what was made of it can be kept beside it.
 */
export type FieldList = readonly (readonly [name: string, value: string])[];

export interface RequestHead {
  readonly method: string;
  /** Host the client asked for, lower case, with the port if it named one. */
  readonly authority: string;
  /** Origin form (`/path?query`), or `*` for OPTIONS. */
  readonly target: string;
  /** Those that are the same from one request to the next; given as the same list, they cost nearly nothing. */
  readonly fields: FieldList;
  /** Those that follow `fields` and vary. Every rule of a head holds for both together. */
  readonly more?: FieldList;
  /** The client asks to switch protocols (value of Upgrade, lower case), e.g. `websocket`. */
  readonly upgrade?: string;
  /** True when no body follows. */
  readonly bodyless: boolean;
}

export interface ResponseHead {
  /** 100–599; 1xx except 101 may come several times before the final head. */
  readonly status: number;
  readonly fields: FieldList;
}

/** The first thing an acceptor sends: on `tcp` and `packets` that it is connected, on `http` the response. */
export type AcceptHead = ResponseHead | { readonly connected: true };

/** A host of an IP address, without a zone, and a port. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
}

/**
 * What a gateway says of the connection whose bytes a `tcp` stream carries. From a member to a gateway it has the name
 * alone: whoever validates a certificate order for that name is to be sent here while the stream stands.
 */
export interface Arrival {
  /** Who connected. */
  readonly client?: Endpoint;
  /** Where it connected to. */
  readonly server?: Endpoint;
  /** Name of the TLS handshake that the bytes begin with, lower case. */
  readonly servername?: string;
}

/** What a stream reports. Set once, in the same turn in which the stream is handed over. */
export interface StreamEvents {
  /** An opener gets the acceptor's heads here. */
  onHead(head: AcceptHead): void;
  /** `chunk` is borrowed until the call returns; credit goes back unless the stream is paused. */
  onData(chunk: Uint8Array): void;
  /** The other direction is complete; `trailers` is empty on `tcp`. */
  onEnd(trailers: FieldList): void;
  /** `write` may go on. */
  onDrain(): void;
  /** Called exactly once, last; `code` is absent after a clean end of both directions. */
  onClose(code?: string): void;
}

export interface LinkStream {
  readonly request: OpenRequest;
  readonly peer: PeerId;
  /** The request's head; only on `http`, on the accepting side. */
  readonly requestHead: RequestHead | undefined;
  /** What the opener of a `tcp` stream said of its connection; only on the accepting side. */
  readonly arrival?: Arrival | undefined;
  listen(events: StreamEvents): void;
  /** The acceptor's answer. */
  writeHead(head: AcceptHead): void;
  /** Copies or sends `chunk` before it returns; false = no credit is left, wait for `onDrain`. */
  write(chunk: Uint8Array): boolean;
  /** Ends our direction. */
  end(trailers?: FieldList): void;
  /** Ends both directions now; `code` is an error code such as `GRANT_DENIED`. */
  reset(code: string): void;
  /** Stops giving credit back, so that the peer stops within its window. */
  pause(): void;
  resume(): void;
}

/** How a link reaches its peer: over a socket of its own, over two that an anchor joined blindly, or inside the overlay. */
export type LinkPath = 'direct' | 'spliced' | 'relayed';

export interface Link {
  readonly peer: PeerId;
  readonly path: LinkPath;
  readonly openStreams: number;
  /** Round trip of the last ping in milliseconds. */
  readonly rttMs: number | undefined;
  /** Opens a stream; its fate arrives by events. @throws `LINK_CLOSED` */
  open(request: OpenRequest, head?: RequestHead, arrival?: Arrival): LinkStream;
  ping(signal: AbortSignal): Promise<number>;
  /** No new streams; ends when the running ones have, or now with `code`. */
  close(code?: string): void;
  /** Aborted once it takes no new streams, whichever side said so; absent where that is not known. */
  readonly leaving?: AbortSignal;
  readonly closed: AbortSignal;
}

/** Decides about a stream a peer opened: takes it over, or resets it with a code. */
export type StreamAcceptor = (stream: LinkStream) => void;

export interface Links {
  /** The best open link to `peer`. */
  get(peer: PeerId): Link | undefined;
  list(): readonly Link[];
  /** The open link to `peer`, or a new one. @throws `PEER_UNREACHABLE`, `LINK_FAILED` */
  connect(peer: PeerId, signal: AbortSignal): Promise<Link>;
  /** Called for each link that opens; returns the way to unsubscribe. */
  onLink(listener: (link: Link) => void): () => void;
}
