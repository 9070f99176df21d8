/**
 * A TCP connection to a service's target, with a deadline, and never to Moat itself.
 */
import { connect, type Socket } from 'node:net';
import type { Clock } from '@moat/core';
import type { SocketAddress } from '../exposed.ts';
import { connectInside } from '../namespace/connect-inside.ts';
import type { NamespaceSockets } from '../namespace/namespace-sockets.ts';

export interface ConnectDeps {
  readonly clock: Clock;
  /** See `ExposedTargets`. */
  isOwnSocket(host: string, port: number): boolean;
  /** Where targets stand. @defaultValue where the agent runs */
  readonly inside?: NamespaceSockets | undefined;
}

/** A target on this machine or its LAN that takes longer than this, in milliseconds, counts as unreachable. */
export const CONNECT_TIMEOUT_MS = 5_000;

export interface ConnectOptions {
  /** @defaultValue {@link CONNECT_TIMEOUT_MS} */
  readonly timeoutMs?: number;
  /** Gets what arrives in the first `length` bytes of `buffer`. */
  readonly onRead?: (buffer: Buffer, length: number) => void;
}

/** One for all sockets: each read is handed over before the next one begins. */
const readBuffer = Buffer.allocUnsafeSlow(64 * 1024);

/**
 * A socket on its way to `target`: writes before `connect` are queued by it. When the target refuses, is too
 * slow, or turns out to be Moat's own socket or this very socket, it closes with an error instead: a
 * listener of `connect` looks at `destroyed` first. Half-open is allowed: the user ends its own direction.
 *
 * With `onRead` what arrives goes there and nowhere else, borrowed until the call returns: Node then reads into one
 * buffer of ours, instead of 64 KiB outside of the heap for each read.
 */
export function connectTarget(deps: ConnectDeps, target: SocketAddress, options: ConnectOptions = {}): Socket {
  const { timeoutMs = CONNECT_TIMEOUT_MS, onRead } = options;
  const reading = {
    allowHalfOpen: true,
    ...(onRead && {
      onread: { buffer: readBuffer, callback: (length: number) => (onRead(readBuffer, length), true) },
    }),
  };
  const { inside } = deps;
  const socket =
    inside === undefined
      ? connect({ host: target.host, port: target.port, noDelay: true, ...reading })
      : connectInside(inside, target, reading);
  const timer = deps.clock.after(timeoutMs, () => socket.destroy(new Error('connecting took too long')));
  socket.prependOnceListener('connect', () => {
    timer.cancel();
    const { remoteAddress = '', remotePort = 0, localAddress, localPort } = socket;
    // Dialing a free port of the ephemeral range on loopback can connect a socket to itself.
    const isSelf = remotePort === localPort && remoteAddress === localAddress;
    if (isSelf || deps.isOwnSocket(remoteAddress, remotePort)) {
      socket.destroy(new Error('the target is a socket of Moat itself'));
    }
  });
  socket.once('close', () => timer.cancel());
  return socket;
}

/** Closes a socket so that the other side sees an error, not an end (RST where there is TCP to send it). */
export function abortSocket(socket: Socket): void {
  if (socket.destroyed) return;
  if (socket.connecting || socket.remotePort === undefined) socket.destroy();
  else socket.resetAndDestroy();
}
