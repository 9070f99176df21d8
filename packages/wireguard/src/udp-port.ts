/** Whether a UDP port is free, as WireGuard would take it. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { failure } from './errors.ts';

/** wireguard-go says nothing to us when it cannot have its port. @throws `TUNNEL_FAILED` */
export async function checkUdpPort(port: number): Promise<void> {
  const socket = createSocket('udp4');
  try {
    socket.bind(port);
    await once(socket, 'listening');
  } catch (error) {
    const message = `UDP port ${port} is taken by another program`;
    throw failure('TUNNEL_FAILED', message, { cause: error, details: { port }, retryable: true });
  } finally {
    socket.close();
  }
}
