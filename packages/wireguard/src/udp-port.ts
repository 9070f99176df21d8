/** Whether a UDP port is free, as WireGuard would take it. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { failure } from './errors.ts';

/** A wireguard-go that was just ended gives its port back a moment after its socket. */
const ATTEMPTS = 20;
const PAUSE_MS = 50;

/** wireguard-go says nothing to us when it cannot have its port. @throws `TUNNEL_FAILED` */
export async function checkUdpPort(port: number): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const problem = await bindOnce(port);
    if (problem === undefined) return;
    if (attempt === ATTEMPTS) {
      const message = `UDP port ${port} is taken by another program`;
      throw failure('TUNNEL_FAILED', message, { cause: problem, details: { port }, retryable: true });
    }
    await delay(PAUSE_MS);
  }
}

/** What kept us from the port. */
async function bindOnce(port: number): Promise<unknown> {
  const socket = createSocket('udp4');
  try {
    socket.bind(port);
    await once(socket, 'listening');
    return undefined;
  } catch (error) {
    return error;
  } finally {
    socket.close();
  }
}
