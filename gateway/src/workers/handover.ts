/** Local sockets between control and workers, for links that must ride the overlay: one end is piped, the other passed on. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { pipeChannel } from '@moat/link';
import type { ByteChannel } from '@moat/core';

/** Pipes that wait for their other end. Bound; one more ends its channel. */
const MAX_OPENING = 256;

/**
 * One Unix socket a pipe, which only this process dials, in a directory that is ours alone. With one socket for all, a
 * dial that failed would give every later channel to whom the one before it belonged.
 */
export class LocalPipes {
  readonly #path: string;
  readonly #opening = new Set<Server>();
  #made = 0;

  /** @param path what the names of the sockets begin with */
  constructor(path: string) {
    this.#path = path;
  }

  /** Pipes the channel into a new socket, whose other end `onFar` gets. To be called in the turn that got the channel. */
  pipe(channel: ByteChannel, onFar: (far: Socket) => void): void {
    if (this.#opening.size >= MAX_OPENING) return channel.destroy();
    this.#made += 1;
    const path = `${this.#path}.${process.pid.toString(36)}.${this.#made.toString(36)}`;
    const server = createServer({ pauseOnConnect: true }, (far) => {
      this.#close(server);
      far.on('error', () => far.destroy());
      onFar(far);
    });
    this.#opening.add(server);
    server.on('error', () => {
      this.#close(server);
      near.destroy();
    });
    server.listen(path);
    const near = connect({ path });
    near.on('error', () => near.destroy());
    near.once('close', () => this.#close(server));
    pipeChannel(channel, near);
  }

  /** Not awaited: Node goes on counting the sockets that were passed on. */
  stop(): void {
    for (const server of this.#opening) this.#close(server);
  }

  /** Takes the name away too. */
  #close(server: Server): void {
    if (this.#opening.delete(server)) server.close();
  }
}
