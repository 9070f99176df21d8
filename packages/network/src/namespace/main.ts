/**
 * The program that runs inside a network namespace, started with `nsenter`: it opens sockets there and hands them to the
 * agent, which serves them. It knows nothing of networks, and imports nothing but Node.
 */
import { createSocket } from 'node:dgram';
import * as net from 'node:net';
import { getSystemErrorName } from 'node:util';

/** What the agent asks for. */
interface Wish {
  readonly id: number;
  readonly kind: 'tcp' | 'udp';
  readonly host: string;
  readonly port: number;
}

/** Node's own way to a socket that is bound and neither listens nor connects; its cluster module uses it. */
type BindTcp = (host: string, port: number, family: 4 | 6) => TcpHandle | number;
interface TcpHandle {
  close(): void;
  getsockname(out: { port?: number }): number;
}
const bindTcp = (net as unknown as { readonly _createServerHandle: BindTcp })._createServerHandle;

process.on('message', (wish: Wish) => {
  if (wish.kind === 'tcp') openTcp(wish);
  else openUdp(wish);
});
// The agent is gone, however it went: what it got stays open as long as it does.
process.on('disconnect', () => process.exit(0));

function openTcp({ id, host, port }: Wish): void {
  const handle = bindTcp(host, port, host.includes(':') ? 6 : 4);
  if (typeof handle === 'number') {
    process.send?.({ id, error: getSystemErrorName(handle) });
    return;
  }
  // libuv keeps EADDRINUSE for later, in this process: there the socket would be bound anew, anywhere.
  const bound: { port?: number } = {};
  handle.getsockname(bound);
  if (port === 0 || bound.port === port) {
    process.send?.({ id }, handle as never, () => handle.close());
    return;
  }
  handle.close();
  process.send?.({ id, error: 'EADDRINUSE' });
}

function openUdp({ id, host, port }: Wish): void {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  socket.once('error', (error: NodeJS.ErrnoException) => process.send?.({ id, error: error.code ?? 'EUNKNOWN' }));
  socket.bind({ address: host, port, exclusive: true }, () => {
    process.send?.({ id }, socket, () => socket.close());
  });
}
