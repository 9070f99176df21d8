import { addressKey, publicKeyFromPeerId, type DeploymentId, type PeerConnection, type PeerId } from '@moat/core';
import type { Connection } from '@libp2p/interface';
import { hostOf } from './host.ts';
import type { TokenBucket } from './token-bucket.ts';

/**
 * One libp2p connection with all the overlay knows about it: why it may stay, and what its peer named in hello.
 * Owner: the {@link Probation} that made it.
 */
export class OverlayConnection implements PeerConnection {
  static #made = 0;
  readonly id: string;
  /** Counts up: of two connections the one with the smaller number was seen first. */
  readonly serial: number = ++OverlayConnection.#made;
  readonly peer: PeerId;
  readonly direction: 'inbound' | 'outbound';
  readonly remote: { readonly host: string; readonly port: number } | null;
  readonly raw: Connection;
  /** Whom limits count it for: the address it comes from (IPv6: its /64), or its anchor's. */
  readonly origin: string;
  /** Why it is past probation: `deployment`, `publication`, or the caller's own. */
  readonly reasons: Set<string> = new Set();
  /** Work that keeps it open without admitting it: a reservation, a relayed connection, a running request of ours. */
  holds: number = 0;
  /** Requests of ours whose answer may admit it; streams that need admission wait for them. */
  pending: number = 0;
  /** Streams that wait for admission. */
  waiting: number = 0;
  /** Deployments the peer named in its last hello. */
  named: ReadonlySet<DeploymentId> = new Set();
  /** Deployments we named in our last hello. */
  told: readonly DeploymentId[] = [];
  /** Settled when the first hello is done or has failed. */
  readonly greeted: PromiseWithResolvers<void> = Promise.withResolvers();
  /** Hellos the peer has opened, so that a stranger cannot repeat them without end. */
  hellos: number = 0;
  /** What the peer may ask of us in a second, over all its connections; each protocol says what a request costs. */
  readonly requests: TokenBucket;
  readonly #closed = new AbortController();

  constructor(raw: Connection, requests: TokenBucket) {
    this.requests = requests;
    this.raw = raw;
    this.id = raw.id;
    this.peer = raw.remotePeer.toString();
    this.direction = raw.direction;
    this.remote = remoteOf(raw);
    this.origin = originOf(raw);
    raw.addEventListener('close', () => this.markClosed(), { once: true });
  }

  get closed(): AbortSignal {
    return this.#closed.signal;
  }

  get admitted(): boolean {
    return this.reasons.size > 0;
  }

  get relayed(): boolean {
    return this.remote === null;
  }

  markClosed(): void {
    this.greeted.resolve();
    if (!this.#closed.signal.aborted) this.#closed.abort();
  }
}

/** True when the peer's key is Ed25519, the only kind Moat knows. */
export function hasMoatIdentity(raw: Connection): boolean {
  try {
    publicKeyFromPeerId(raw.remotePeer.toString());
    return true;
  } catch {
    return false;
  }
}

/** An anchor's address comes first in a relayed one. */
function originOf(raw: Connection): string {
  const isRelayed = raw.remoteAddr.getComponents().some(({ name }) => name === 'p2p-circuit');
  return `${isRelayed ? 'relayed ' : ''}${addressKey(hostOf(raw.remoteAddr))}`;
}

function remoteOf(raw: Connection): { host: string; port: number } | null {
  let host: string | undefined;
  let port: number | undefined;
  for (const { name, value } of raw.remoteAddr.getComponents()) {
    if (name === 'p2p-circuit') return null;
    if (name.startsWith('ip') || name.startsWith('dns')) host ??= value;
    if (name === 'tcp') port ??= Number(value);
  }
  return host === undefined || port === undefined ? null : { host, port };
}
