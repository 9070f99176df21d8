/**
 * tls: ends the client's TLS. The name of the handshake decides the certificate; a name the gateway does not
 * know ends it (`unrecognized_name`, RFC 6066 §3), as does no name at all (`handshake_failure`). Nothing is
 * ever served under a default certificate.
 *
 * Each TLSSocket gets its `error` handler before its first byte, and the SNI callback never throws:
 * CVE-2025-59465 and CVE-2026-21637 are about servers that lack one of them.
 *
 * TLS is set up when a client has said its first word (`hello`), and gets it in pieces: where Node reads the first bytes by itself,
 * it keeps a buffer of 64 KiB for the connection, now of 1 KiB until a client sends more at once. A client that stays costs
 * a half less memory for it, an upload a tenth more CPU time in TLS (`test/bench`, `growth/https1/idle`). For the same
 * reason nothing of the handshake outlives it: no timer, no listener that waits for an event that comes once (Node wraps
 * those of `once`), no list of protocols (its few bytes keep a slab of Node's pool alive: 1 KiB a client).
 */
import type { Socket } from 'node:net';
import { TLSSocket, createSecureContext, type SecureContext } from 'node:tls';
import type { ClientHello, Clock, Logger, Timer } from '@moat/core';
import { TLS_OPTIONS, type SecureContexts } from '../certificates/contexts.ts';
import { normaliseHost } from '../names/host.ts';
import type { MtlsWay } from '../publications/edge-rules.ts';
import { withCertificate } from './client-certificate.ts';
import type { ClientAddress } from './client-request.ts';

export interface TlsDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly contexts: Pick<SecureContexts, 'get'>;
  /** Takes over a connection whose handshake is done. */
  serve(socket: TLSSocket, client: ClientAddress, servername: string): void;
  /** A handshake ended without an end. */
  failed?(): void;
}

export interface TlsOptions {
  /** @defaultValue 10000 */
  readonly handshakeMs?: number;
  /** Protocols a client may choose, the best first (ALPN). @defaultValue http/1.1 */
  readonly protocols?: readonly string[];
}

/** Record of a fatal alert 112, sent in the clear as no keys exist yet. */
const UNRECOGNIZED_NAME = Uint8Array.of(0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70);

/** Just less than the first buffer that Node makes for small pieces. */
const PIECE_BYTES = 1_000;

/** A connection whose hello has been read; `bytes` are all it has sent. */
export interface Greeted {
  readonly socket: Socket;
  readonly client: ClientAddress;
  readonly hello: ClientHello;
  readonly bytes: Buffer;
  /** Instead of those of all connections; none = ALPN is not answered. */
  readonly protocols?: readonly string[] | undefined;
  /** A certificate is asked for, which they sign. */
  readonly mtls?: MtlsWay | undefined;
}

/** Makes the phase: a function that takes greeted connections. */
export function createTlsPhase(deps: TlsDeps, options: TlsOptions = {}): (greeted: Greeted) => void {
  const withoutCertificate = createSecureContext(TLS_OPTIONS);
  const handshakeMs = options.handshakeMs ?? 10_000;
  const ours = options.protocols ?? ['http/1.1'];
  const chooseOurs = chooseOf(ours);

  return ({ socket, client, hello, bytes, protocols = ours, mtls }) => {
    let deadline: Timer | undefined = deps.clock.after(handshakeMs, () => socket.destroy());
    const secure = new TLSSocket(socket, {
      isServer: true,
      secureContext: withoutCertificate,
      // Missing from the types: the same options tls.createServer takes.
      ...({
        SNICallback: choose,
        ALPNCallback: protocols === ours ? chooseOurs : chooseOf(protocols),
        allowHalfOpen: true,
      } as object),
      // Who shows none may come in another way.
      ...(mtls === undefined ? {} : { requestCert: true, rejectUnauthorized: false }),
    });
    secure.on('close', failed);
    secure.on('end', left);
    secure.on('error', (err) => {
      deps.logger.trace({ component: 'gateway.tls', remoteAddress: client.address, err }, 'tls connection failed');
      socket.destroy();
    });
    secure.once('secure', () => {
      secure.off('close', failed);
      secure.off('end', left);
      cancel();
      const servername = nameOf(secure);
      // Both read the same hello; who is served is decided by what both saw.
      if (servername === undefined || servername !== normaliseHost(hello.serverName)) secure.destroy();
      else deps.serve(secure, mtls === undefined ? client : withCertificate(client, secure, mtls), servername);
    });
    receive(secure, socket, bytes);

    function cancel(): void {
      deadline?.cancel();
      deadline = undefined;
    }

    /** Sockets are half-open: of a client that ends before it has said all, nothing more is to come. */
    function left(): void {
      secure.destroy();
    }

    function failed(): void {
      cancel();
      deps.failed?.();
    }

    function choose(name: string, done: (error: Error | null, context?: SecureContext) => void): void {
      const host = normaliseHost(name);
      const found = host === undefined ? Promise.resolve(undefined) : deps.contexts.get(host, mtls);
      found.then(
        (context) => {
          if (context) done(null, context);
          else refuse(done);
        },
        (err: unknown) => {
          deps.logger.error({ component: 'gateway.tls', host: host ?? '', err }, 'no certificate for a known name');
          refuse(done);
        },
      );
    }

    function refuse(done: (error: Error | null) => void): void {
      if (socket.destroyed || !socket.writable) return void socket.destroy();
      socket.write(UNRECOGNIZED_NAME, () => done(new Error('unrecognized name')));
    }
  };
}

/** The first of `ours` that the client speaks too; with none in common the handshake ends. Empty = ALPN is not answered. */
function chooseOf(
  ours: readonly string[],
): ((offer: { readonly protocols: readonly string[] }) => string | undefined) | undefined {
  if (ours.length === 0) return undefined;
  return ({ protocols }) => ours.find((protocol) => protocols.includes(protocol));
}

/** Hands over what came before TLS was there; a Node without its inner way takes it from the socket, in one piece. */
function receive(secure: TLSSocket, socket: Socket, first: Buffer): void {
  const inner = (secure as TLSSocket & { readonly _handle?: { receive?(bytes: Buffer): void } | null })._handle;
  if (typeof inner?.receive !== 'function') {
    socket.unshift(first);
    return;
  }
  for (let at = 0; at < first.length && !secure.destroyed; at += PIECE_BYTES) {
    inner.receive(first.subarray(at, at + PIECE_BYTES));
  }
}

/** The handshake's name. */
function nameOf(socket: TLSSocket): string | undefined {
  const { servername } = socket as TLSSocket & { servername?: string | false | null };
  return typeof servername === 'string' ? normaliseHost(servername) : undefined;
}
