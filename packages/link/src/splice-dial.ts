/** A link's socket over an anchor: both sides dial the anchor's link port, which joins them; then TLS runs end to end. */
import { connect, type Socket } from 'node:net';

import { MoatError } from '@moat/core';
import type { ByteChannel, Clock, ControlPlane, PeerConnection, PeerId } from '@moat/core';

import { createDeadline } from './deadline.ts';
import { handshakeError } from './guard.ts';
import {
  SPLICE_PROTOCOL,
  decodeSpliceMessage,
  encodeSpliceMessage,
  type SpliceMessage,
  type SplicePair,
} from './splice-messages.ts';
import { PREAMBLE_BYTES, encodeSplicePreamble, type SpentTicket } from './ticket.ts';
import { GO_ON, acceptTls } from './transport.tls.ts';

/** Milliseconds for an anchor's answer. */
const ASK_MS = 5000;

/** The anchors of contracts, for the machines that share one with a peer. */
export interface LinkAnchors {
  /** Anchors of the contracts shared with `peer`, best first; neither it nor this machine is among them. */
  of(peer: PeerId): readonly PeerId[];
  /** A connection to one of them. @throws `PEER_UNREACHABLE`, or the signal's reason. */
  connect(anchor: PeerId, signal: AbortSignal): Promise<PeerConnection>;
}

export interface SpliceDialerDeps {
  readonly clock: Clock;
  readonly control: ControlPlane;
  readonly anchors: LinkAnchors;
}

/** Where an anchor joins sockets. */
export interface SplicePlace {
  readonly host: string;
  readonly port: number;
}

/** What both sides ask an anchor. The address is always that of our own connection to it: no answer names one. */
export class SpliceDialer {
  readonly #deps: SpliceDialerDeps;

  constructor(deps: SpliceDialerDeps) {
    this.#deps = deps;
  }

  /** The anchors over which a link with `peer` may be spliced. */
  anchorsOf(peer: PeerId): readonly PeerId[] {
    return this.#deps.anchors.of(peer);
  }

  /** Two ids and the place to show them. @throws `SPLICE_REFUSED`, or what the control plane throws */
  async pair(anchor: PeerId, signal: AbortSignal): Promise<SplicePlace & Pick<SplicePair, 'ids'>> {
    const { answer, host } = await this.#ask(anchor, { type: 'pair?' }, signal);
    if (answer.type !== 'pair') throw refused(anchor, answer);
    return { host, port: answer.port, ids: answer.ids };
  }

  /** The place alone; a peer that names an anchor never chooses the port we dial. @throws as {@link pair} */
  async place(anchor: PeerId, signal: AbortSignal): Promise<SplicePlace> {
    const { answer, host } = await this.#ask(anchor, { type: 'port?' }, signal);
    if (answer.type !== 'port') throw refused(anchor, answer);
    return { host, port: answer.port };
  }

  async #ask(
    anchor: PeerId,
    question: SpliceMessage,
    parent: AbortSignal,
  ): Promise<{ readonly answer: SpliceMessage; readonly host: string }> {
    const { anchors, clock, control } = this.#deps;
    using deadline = createDeadline(clock, ASK_MS, parent);
    const { signal } = deadline;
    const connection = await anchors.connect(anchor, signal);
    if (connection.remote === null || connection.peer !== anchor) {
      throw new MoatError('SPLICE_REFUSED', 'the anchor is itself reached through another', { details: { anchor } });
    }
    const stream = await control.open(connection, SPLICE_PROTOCOL, signal);
    try {
      await stream.write(encodeSpliceMessage(question), signal);
      const answer = decodeSpliceMessage(await stream.read(signal));
      await stream.close();
      return { answer, host: connection.remote.host };
    } catch (error) {
      stream.abort(error as Error);
      throw error;
    }
  }
}

/** How the acceptor of a link comes to an anchor. */
export interface AcceptSplicedOptions extends SplicePlace {
  readonly id: Uint8Array;
  readonly signal: AbortSignal;
  /** Spends the ticket that the other side's preamble names. */
  readonly spend: (preamble: Buffer) => SpentTicket | undefined;
}

/**
 * The acceptor's side: comes to the anchor, waits until it is joined, and from there on does what the port guard does.
 * @throws `TLS_REFUSED`, Node's connect errors, or the signal's reason.
 */
export async function acceptSpliced(options: AcceptSplicedOptions): Promise<ByteChannel> {
  const { signal } = options;
  signal.throwIfAborted();
  const socket = connect({ host: options.host, port: options.port, noDelay: true, keepAlive: true });
  const onAbort = (): void => {
    socket.destroy(signal.reason as Error);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    socket.once('connect', () => socket.write(encodeSplicePreamble(options.id)));
    const preamble = await readPreamble(socket);
    const ticket = options.spend(preamble);
    if (ticket === undefined) throw handshakeError('TLS_REFUSED', 'an anchor joined us with somebody else');
    return await acceptTls(socket, ticket);
  } catch (error) {
    socket.destroy();
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** The anchor's one byte, then the dialer's 17: it says nothing more until it is answered. */
function readPreamble(socket: Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const bytes = Buffer.alloc(1 + PREAMBLE_BYTES);
    let length = 0;
    const fail = (error?: Error): void => {
      reject(error ?? handshakeError('TLS_REFUSED', 'the anchor closed the socket'));
    };
    socket.on('error', fail);
    socket.once('close', () => fail());
    const onData = (chunk: Buffer): void => {
      if (length + chunk.length > bytes.length) return fail();
      length += chunk.copy(bytes, length);
      if (bytes[0] !== GO_ON) return fail();
      if (length < bytes.length) return;
      socket.off('data', onData);
      resolve(bytes.subarray(1));
    };
    socket.on('data', onData);
  });
}

function refused(anchor: PeerId, answer: SpliceMessage): MoatError<'SPLICE_REFUSED'> {
  return new MoatError('SPLICE_REFUSED', 'the anchor joins no sockets for us now', {
    details: { anchor, code: answer.type === 'refused' ? answer.code : 'TICKET_INVALID' },
    retryable: true,
  });
}
