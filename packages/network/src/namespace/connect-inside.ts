/** Connections to targets that stand in another network namespace. */
import { Socket, isIP, type SocketConstructorOpts } from 'node:net';
import type { SocketAddress } from '../exposed.ts';
import type { NamespaceSockets } from './namespace-sockets.ts';

/** As `net.connect`, from inside: never from here, where the same address is another machine's or our own. */
export function connectInside(
  sockets: NamespaceSockets,
  { host, port }: SocketAddress,
  options: Pick<SocketConstructorOpts, 'allowHalfOpen' | 'onread'>,
): Socket {
  const address = host === 'localhost' ? '127.0.0.1' : host;
  const family = isIP(address);
  const handle = family === 0 ? undefined : sockets.takeUnconnected(family === 6 ? 6 : 4);
  // Nothing is read before it is connected; Node's types know neither of the two.
  const socket = new Socket(handle === undefined ? options : ({ ...options, handle, manualStart: true } as object));
  if (handle === undefined) {
    const reason = family === 0 ? 'a target inside a namespace is an address' : 'no socket of the namespace is ready';
    socket.destroy(new Error(reason));
    return socket;
  }
  socket.setNoDelay(true);
  return socket.connect({ host: address, port });
}
