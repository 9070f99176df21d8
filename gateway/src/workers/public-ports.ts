/**
 * The public ports of a gateway with workers. Control binds one socket a worker to each port and never listens itself:
 * the kernel spreads connections over them (SO_REUSEPORT), and a worker inherits its own. Control keeps each socket open,
 * so the connections that wait in a dead worker's queue wait for the one that follows, and none is refused.
 */
import { lookup } from 'node:dns/promises';
// Not by name: earlier versions of Node have no BoundSocket, and are told so.
import * as net from 'node:net';
import type { HostPort } from '../config.ts';
import { refusal } from '../errors.ts';

/** One socket for each worker, all at one address. */
export class PublicPort implements Disposable {
  readonly host: string;
  readonly port: number;
  readonly #sockets: net.BoundSocket[];

  private constructor(host: string, port: number, sockets: net.BoundSocket[]) {
    this.host = host;
    this.port = port;
    this.#sockets = sockets;
  }

  /** @throws `LISTEN_FAILED` */
  static async bind({ host, port }: HostPort, count: number): Promise<PublicPort> {
    const sockets: net.BoundSocket[] = [];
    try {
      const address = net.isIP(host) === 0 ? (await lookup(host)).address : host;
      const chosen = await requireFree(address, port);
      for (let i = 0; i < count; i++) {
        sockets.push(new net.BoundSocket({ host: address, port: chosen, reusePort: true }));
      }
      return new PublicPort(host, chosen, sockets);
    } catch (cause) {
      for (const socket of sockets) socket.close();
      throw refusal('LISTEN_FAILED', `cannot listen on ${host} port ${port}`, { cause, details: { host, port } });
    }
  }

  /** To be inherited by the worker in this place. */
  fd(place: number): number {
    return this.#sockets[place]?.fd() ?? -1;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets.splice(0)) socket.close();
  }
}

/** Sockets that share a port would also share it with another gateway of this user, which must be refused instead. */
function requireFree(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = net.createServer();
    probe.once('error', reject);
    probe.listen({ host, port }, () => {
      const { port: chosen } = probe.address() as net.AddressInfo;
      probe.close(() => resolve(chosen));
    });
  });
}
