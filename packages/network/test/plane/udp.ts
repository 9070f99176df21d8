import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import type { Endpoint } from '@moat/core';

/** A UDP socket on loopback that keeps what it gets: a WireGuard as far as packets go. */
export class Udp implements AsyncDisposable {
  readonly received: { readonly packet: Buffer; readonly from: Endpoint }[] = [];
  readonly #socket: Socket;
  #wake = Promise.withResolvers<void>();

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('message', (packet, { address, port }) => {
      this.received.push({ packet, from: { host: address, port } });
      this.#wake.resolve();
      this.#wake = Promise.withResolvers();
    });
    socket.on('error', () => undefined);
  }

  get port(): number {
    return this.#socket.address().port;
  }

  send(packet: Uint8Array | string, to: Endpoint): void {
    this.#socket.send(packet, to.port, to.host);
  }

  /** Waits until so many packets were received in all. */
  async until(count: number): Promise<void> {
    while (this.received.length < count) await this.#wake.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#socket, 'close');
    this.#socket.close();
    await closed;
  }
}

export async function udp(): Promise<Udp> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return new Udp(socket);
}
