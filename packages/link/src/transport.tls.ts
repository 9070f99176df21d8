/**
 * A link's own socket: TLS 1.3 with one cipher and an external PSK (RFC 8446 §4.2.11, with ephemeral keys), done by Node's
 * C++ side: 1.0–1.2 GB/s against 0.2 GB/s of a libp2p stream. No certificate is ever sent, asked for or accepted.
 *
 * OpenSSL still sends one NewSessionTicket after the handshake; it names state that nobody keeps, and a client that
 * offers it is refused: the server takes exactly the identity of the ticket that was spent on this socket.
 */
import { constants } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { TLSSocket, connect as connectTls, createSecureContext, type SecureContext } from 'node:tls';

import type { ByteChannel } from '@moat/core';

import { handshakeError } from './guard.ts';
import { SocketChannel } from './socket-channel.ts';
import type { SpentTicket } from './ticket.ts';

const CIPHER = 'TLS_AES_128_GCM_SHA256';
/** The one byte that says: go on with TLS; an anchor says with it that two sockets are joined. */
export const GO_ON = 1;
const TLS_OPTIONS = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: CIPHER,
  secureOptions: constants.SSL_OP_NO_TICKET,
} as const;

let context: SecureContext | undefined;

/**
 * The acceptor's side: answers the preamble and proves the ticket. The caller owns the deadline and destroys `socket`.
 * @throws `TLS_REFUSED`
 */
export function acceptTls(socket: Socket, ticket: SpentTicket): Promise<ByteChannel> {
  context ??= createSecureContext(TLS_OPTIONS);
  socket.write(Buffer.of(GO_ON));
  let proved = false;
  const tls = new TLSSocket(socket, {
    isServer: true,
    secureContext: context,
    requestCert: false,
    ...({
      pskCallback: (_socket: TLSSocket, identity: string) => {
        proved = identity === ticket.identity;
        return proved ? ticket.psk : null;
      },
    } as object),
  });
  return finish(tls, 'secure', () => proved);
}

/** Where and how to dial a link. */
export interface DialOptions {
  readonly host: string;
  readonly port: number;
  /** Each is answered by one byte: first an anchor's, where one joins the sockets, then the acceptor's. */
  readonly preambles: readonly Buffer[];
  readonly ticket: SpentTicket;
  readonly signal: AbortSignal;
}

/**
 * The dialer's side.
 * @throws `TLS_REFUSED`, Node's connect errors, or the signal's reason.
 */
export async function dialTls(options: DialOptions): Promise<ByteChannel> {
  const { signal, ticket } = options;
  signal.throwIfAborted();
  const socket = connect({ host: options.host, port: options.port, noDelay: true, keepAlive: true });
  const onAbort = (): void => {
    socket.destroy(signal.reason as Error);
  };
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    for (const preamble of options.preambles) await askToGoOn(socket, preamble);
    let proved = false;
    const tls = connectTls({
      socket,
      ...TLS_OPTIONS,
      pskCallback: () => {
        proved = true;
        return { psk: ticket.psk, identity: ticket.identity };
      },
      // Called only when the other side shows a certificate, which no peer of ours does.
      checkServerIdentity: () => handshakeError('TLS_REFUSED', 'the other end showed a certificate'),
    });
    return await finish(tls, 'secureConnect', () => proved);
  } catch (error) {
    socket.destroy();
    signal.throwIfAborted();
    throw error;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** Sends the preamble and waits for the one byte. */
function askToGoOn(socket: Socket, preamble: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error?: Error): void => {
      reject(error ?? handshakeError('TLS_REFUSED', 'the link port closed without an answer'));
    };
    const onClose = (): void => fail();
    if (socket.connecting) socket.once('connect', () => socket.write(preamble));
    else socket.write(preamble);
    socket.once('error', fail);
    socket.once('close', onClose);
    socket.once('data', (answer: Buffer) => {
      socket.off('error', fail);
      socket.off('close', onClose);
      socket.on('error', ignore);
      if (answer.length === 1 && answer[0] === GO_ON) resolve();
      else fail();
    });
  });
}

/** Waits for the handshake and checks what both sides must check. */
function finish(tls: TLSSocket, event: 'secure' | 'secureConnect', proved: () => boolean): Promise<ByteChannel> {
  return new Promise((resolve, reject) => {
    const fail = (error?: Error): void => {
      reject(handshakeError('TLS_REFUSED', 'the TLS handshake failed', error));
      tls.destroy();
    };
    tls.once('error', fail);
    tls.once('close', () => fail());
    tls.once(event, () => {
      if (!proved() || !isAsAgreed(tls)) return fail();
      tls.off('error', fail);
      resolve(new SocketChannel(tls));
    });
  });
}

function isAsAgreed(tls: TLSSocket): boolean {
  const certificate = tls.getPeerCertificate() as object | null;
  return (
    tls.getProtocol() === 'TLSv1.3' &&
    tls.getCipher().name === CIPHER &&
    (certificate === null || Object.keys(certificate).length === 0) &&
    // With an external PSK OpenSSL reports the handshake as resumed; with a certificate it would not.
    tls.isSessionReused()
  );
}

const ignore = (): void => undefined;
