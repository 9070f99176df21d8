/**
 * hello: reads what a client says first, before anybody answers, and so decides who does: a name that is passed through is
 * never terminated here, not even to say no. Whoever says nothing whole within `helloMs`, nothing well-formed, or no name,
 * is ended with a TLS alert.
 */
import type { Socket } from 'node:net';
import {
  ALERT,
  ClientHelloReader,
  HelloRefused,
  alertRecord,
  type Alert,
  type ClientHello,
  type Clock,
  type Logger,
} from '@moat/core';
import type { ClientAddress } from './client-request.ts';

export interface HelloDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Takes over a connection, paused; `bytes` are all it has sent. */
  serve(socket: Socket, client: ClientAddress, hello: ClientHello, bytes: Buffer): void;
}

export interface HelloOptions {
  /** @defaultValue 10000 */
  readonly helloMs?: number;
}

/** Milliseconds for the alert to leave. */
const LAST_MS = 1_000;

/** Makes the phase: a function that takes raw connections. */
export function createHelloPhase(
  deps: HelloDeps,
  options: HelloOptions = {},
): (socket: Socket, client: ClientAddress) => void {
  const { clock, logger } = deps;
  const helloMs = options.helloMs ?? 10_000;

  return (socket, client) => {
    const reader = new ClientHelloReader();
    const deadline = clock.after(helloMs, () => socket.destroy());
    socket.once('close', finish);
    socket.on('readable', read);

    function read(): void {
      const chunk = socket.read() as Buffer | null;
      // How the end of a stream is told.
      if (chunk === null) return ended();
      let hello: ClientHello | undefined;
      try {
        hello = reader.push(chunk);
      } catch (error) {
        if (!(error instanceof HelloRefused)) throw error;
        finish();
        const reason = error.message;
        logger.debug({ component: 'gateway.hello', remoteAddress: client.address, reason }, 'no handshake begun');
        return endWithAlert(socket, error.alert);
      }
      if (hello === undefined) return;
      finish();
      deps.serve(socket, client, hello, reader.bytes);
    }

    function ended(): void {
      finish();
      socket.destroy();
    }

    /** Nothing of this phase outlives it: a client that stays would keep its hello in memory. */
    function finish(): void {
      deadline.cancel();
      socket.off('close', finish);
      socket.off('readable', read);
      socket.pause();
    }
  };
}

/** Ends a connection that TLS has not begun on, saying why. */
export function endWithAlert(socket: Socket, alert: Alert = ALERT.internalError): void {
  if (socket.destroyed || !socket.writable) return void socket.destroy();
  socket.setTimeout(LAST_MS, () => socket.destroy());
  // What else comes is not read, but thrown away: closing with bytes unread would overtake the alert.
  socket.on('data', () => undefined);
  socket.resume();
  socket.end(alertRecord(alert));
}
