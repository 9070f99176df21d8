/** Local sockets between control and workers, for links that must ride the overlay: one end is piped, the other passed on. */
import { rm } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { pipeChannel } from '@moat/link';
import type { ByteChannel } from '@moat/core';
import { refusal } from '../errors.ts';

/** A Unix socket that only this process dials. It lies in a directory that is ours alone. */
export class LocalPipes {
  readonly #path: string;
  /** Who dialed and was not accepted yet; the kernel accepts in the order of dialing. */
  readonly #waiting: { readonly near: Socket; readonly onFar: (far: Socket) => void }[] = [];
  #server: Server | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  /** @throws `LISTEN_FAILED` */
  async start(): Promise<void> {
    const path = this.#path;
    await rm(path, { force: true });
    const server = createServer({ pauseOnConnect: true }, (far) => {
      far.on('error', () => far.destroy());
      const waiting = this.#waiting.shift();
      if (waiting === undefined) far.destroy();
      else waiting.onFar(far);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause) => reject(refusal('LISTEN_FAILED', `cannot listen on ${path}`, { cause })));
      server.listen(path, resolve);
    });
    this.#server = server;
  }

  /** Pipes the channel into a new socket, whose other end `onFar` gets. To be called in the turn that got the channel. */
  pipe(channel: ByteChannel, onFar: (far: Socket) => void): void {
    const near = connect({ path: this.#path });
    const waiting = { near, onFar };
    this.#waiting.push(waiting);
    near.on('error', () => {
      const at = this.#waiting.indexOf(waiting);
      if (near.connecting && at !== -1) this.#waiting.splice(at, 1);
    });
    pipeChannel(channel, near);
  }

  /** Not awaited: Node goes on counting the sockets that were passed on. */
  stop(): void {
    for (const { near } of this.#waiting.splice(0)) near.destroy();
    this.#server?.close();
    this.#server = undefined;
  }
}
