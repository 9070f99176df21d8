/** Links without wires: peers of one hub reach each other by stream pairs; for tests. */
import {
  MoatError,
  type Link,
  type LinkStream,
  type Links,
  type OpenRequest,
  type PeerId,
  type RequestHead,
  type StreamAcceptor,
} from '@moat/core';
import { createStreamPair } from '../src/stream-pair.ts';

export class MemoryHub {
  readonly #acceptors = new Map<PeerId, StreamAcceptor>();
  /** Peers whose connects never settle. */
  readonly silent = new Set<PeerId>();
  /** Peers that somebody asked for a link, in order. */
  readonly connects: PeerId[] = [];
  /** Streams opened so far, as their acceptors saw them. */
  readonly streams: LinkStream[] = [];

  join(peer: PeerId, acceptor: StreamAcceptor): Links {
    this.#acceptors.set(peer, acceptor);
    return this.links(peer);
  }

  leave(peer: PeerId): void {
    this.#acceptors.delete(peer);
  }

  /** The links of somebody who accepts nothing. */
  links(self: PeerId): Links {
    const open = new Map<PeerId, Link>();
    return {
      get: (peer) => (this.#acceptors.has(peer) && !this.silent.has(peer) ? open.get(peer) : undefined),
      list: () => [...open.values()],
      onLink: () => () => undefined,
      connect: (peer) => {
        this.connects.push(peer);
        if (this.silent.has(peer)) return new Promise(() => undefined);
        if (!this.#acceptors.has(peer)) return Promise.reject(new MoatError('PEER_UNREACHABLE', 'nobody there'));
        const link = open.get(peer) ?? this.#link(self, peer);
        open.set(peer, link);
        return Promise.resolve(link);
      },
    };
  }

  #link(self: PeerId, peer: PeerId): Link {
    return {
      peer,
      path: 'direct',
      openStreams: 0,
      rttMs: undefined,
      ping: () => Promise.resolve(0),
      close: () => undefined,
      closed: new AbortController().signal,
      open: (request: OpenRequest, requestHead?: RequestHead) => {
        const { opened, accepted } = createStreamPair({
          request,
          opener: self,
          acceptor: peer,
          ...(requestHead ? { requestHead } : {}),
        });
        this.streams.push(accepted);
        this.#acceptors.get(peer)?.(accepted);
        return opened;
      },
    };
  }
}
