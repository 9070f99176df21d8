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

import { noteReadBuffer, type ByteChannel } from '@moat/core';

import { handshakeError } from './guard.ts';
import type { SpentTicket } from './ticket.ts';

const CIPHER = 'TLS_AES_128_GCM_SHA256';
/** Bytes that may wait in the socket before a link stops writing. */
const HIGH_WATER_BYTES = 512 * 1024;
/** The one byte that says: go on with TLS. */
const GO_ON = 1;
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
      highWaterMark: HIGH_WATER_BYTES,
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
  readonly preamble: Buffer;
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
    await askToGoOn(socket, options.preamble);
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
      ...({ highWaterMark: HIGH_WATER_BYTES } as object),
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
    socket.once('connect', () => socket.write(preamble));
    socket.once('error', fail);
    socket.once('close', () => fail());
    socket.once('data', (answer: Buffer) => {
      socket.off('error', fail);
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

/** A socket as a byte channel. Bound: the socket's buffer; `write` says stop at 256 KiB. */
class SocketChannel implements ByteChannel {
  onData: (chunk: Uint8Array) => void = ignore;
  onDrain: () => void = ignore;
  onEnd: () => void = ignore;
  onClose: (error?: Error) => void = ignore;
  readonly #socket: TLSSocket;
  #error: Error | undefined;
  #paused = false;

  constructor(socket: TLSSocket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      noteReadBuffer(chunk.length);
      this.onData(chunk);
    });
    socket.on('drain', () => this.onDrain());
    socket.on('end', () => this.onEnd());
    socket.on('error', (error) => {
      this.#error = error;
    });
    socket.on('close', () => this.onClose(this.#error));
    // The owner sets its handlers in the turn in which it gets the channel; nothing may be read before.
    socket.pause();
    setImmediate(() => {
      if (!this.#paused) socket.resume();
    });
  }

  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  write(chunk: Uint8Array, onTaken?: () => void): boolean {
    if (this.#socket.destroyed) return false;
    if (onTaken === undefined) return this.#socket.write(chunk);
    // After an error nobody knows what is still read.
    return this.#socket.write(chunk, (error) => (error ? undefined : onTaken()));
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#socket.resume();
  }

  end(): void {
    this.#socket.end();
  }

  destroy(error?: Error): void {
    this.#socket.destroy(error);
  }
}
