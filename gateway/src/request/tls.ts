/**
 * tls: ends the client's TLS. The name of the handshake decides the certificate; a name the gateway does not
 * know ends it (`unrecognized_name`, RFC 6066 §3), as does no name at all (`handshake_failure`). Nothing is
 * ever served under a default certificate.
 *
 * Each TLSSocket gets its `error` handler before its first byte, and the SNI callback never throws:
 * CVE-2025-59465 and CVE-2026-21637 are about servers that lack one of them.
 */
import type { Socket } from 'node:net';
import { TLSSocket, createSecureContext, type SecureContext } from 'node:tls';
import type { Clock, Logger } from '@moat/core';
import { TLS_OPTIONS, type SecureContexts } from '../certificates/contexts.ts';
import { normaliseHost } from '../names/host.ts';
import type { ClientAddress } from './client-request.ts';

export interface TlsDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly contexts: Pick<SecureContexts, 'get'>;
  /** Takes over a connection whose handshake is done. */
  serve(socket: TLSSocket, client: ClientAddress, servername: string): void;
}

export interface TlsOptions {
  /** @defaultValue 10000 */
  readonly handshakeMs?: number;
}

/** Record of a fatal alert 112, sent in the clear as no keys exist yet. */
const UNRECOGNIZED_NAME = Uint8Array.of(0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x70);

/** Makes the phase: a function that takes raw connections. */
export function createTlsPhase(
  deps: TlsDeps,
  options: TlsOptions = {},
): (socket: Socket, client: ClientAddress) => void {
  const withoutCertificate = createSecureContext(TLS_OPTIONS);
  const handshakeMs = options.handshakeMs ?? 10_000;

  return (socket, client) => {
    const deadline = deps.clock.after(handshakeMs, () => socket.destroy());
    socket.once('close', () => deadline.cancel());
    const secure = new TLSSocket(socket, {
      isServer: true,
      secureContext: withoutCertificate,
      ALPNProtocols: ['http/1.1'],
      // Missing from the types: the same option tls.createServer takes.
      ...({ SNICallback: choose, allowHalfOpen: true } as object),
    });
    secure.on('error', (err) => {
      deps.logger.trace({ component: 'gateway.tls', remoteAddress: client.address, err }, 'tls connection failed');
      socket.destroy();
    });
    secure.once('secure', () => {
      deadline.cancel();
      const servername = nameOf(secure);
      if (servername === undefined) secure.destroy();
      else deps.serve(secure, client, servername);
    });

    function choose(name: string, done: (error: Error | null, context?: SecureContext) => void): void {
      const host = normaliseHost(name);
      const found = host === undefined ? Promise.resolve(undefined) : deps.contexts.get(host);
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

/** The handshake's name; resumption with another one never gets this far with the wrong one. */
function nameOf(socket: TLSSocket): string | undefined {
  const { servername } = socket as TLSSocket & { servername?: string | false | null };
  return typeof servername === 'string' ? normaliseHost(servername) : undefined;
}
