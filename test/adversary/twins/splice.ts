/** The hostile anchor's place for sockets: joins the right two, alters what passes, or joins the wrong ones. */
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { PREAMBLE_BYTES } from '../../../packages/link/src/ticket.ts';
import type { Stream } from './anchor.ts';
import { framed, unframed } from './twin.ts';

/**
 * `honest`; `tamper` flips a byte of what passes; `mirror` joins each socket with itself; `impersonate` says the
 * other end is there and then talks on its own; `elsewhere` names the port of another service of its host.
 */
export type SpliceMode = 'honest' | 'tamper' | 'mirror' | 'impersonate' | 'elsewhere';

export class HostileSplice implements AsyncDisposable {
  mode: SpliceMode = 'honest';
  /** What passed. */
  readonly seen: Buffer[] = [];
  /** Sockets that came with an id it gave out. */
  came = 0;
  /** Pairs it joined. */
  joined = 0;
  /** The port that `elsewhere` names. */
  elsewhere = 0;
  readonly #server: Server;
  readonly #pairs = new Map<string, { other: string; waiting?: Socket }>();
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<HostileSplice> {
    const server = createServer((socket) => splice.#take(socket));
    const splice = new HostileSplice(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return splice;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** Answers `/moat/splice/1`. */
  async serve(stream: Stream): Promise<void> {
    const chunks: Buffer[] = [];
    stream.addEventListener('message', ({ data }) => {
      chunks.push(Buffer.from(data.subarray()));
      const [question] = unframed(Buffer.concat(chunks));
      if (question === undefined) return;
      chunks.length = 0;
      stream.send(framed(this.#answer(JSON.parse(String(question)) as { type: string })));
    });
  }

  #answer({ type }: { type: string }): object {
    const port = this.mode === 'elsewhere' ? this.elsewhere : this.port;
    if (type === 'port?') return { type: 'port', port };
    const ids = [randomBytes(16), randomBytes(16)].map((id) => id.toString('base64url')) as [string, string];
    this.#pairs.set(ids[0], { other: ids[1] });
    this.#pairs.set(ids[1], { other: ids[0] });
    return { type: 'pair', ids, port, expires: 10_000 };
  }

  /** Ends what it joined; sockets that come are joined as `mode` says then. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  #take(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => this.#sockets.delete(socket));
    let read = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      read = Buffer.concat([read, chunk]);
      if (read.length < PREAMBLE_BYTES) return;
      socket.off('data', onData);
      socket.pause();
      this.#arrived(socket, read.subarray(1, PREAMBLE_BYTES).toString('base64url'));
    };
    socket.on('data', onData);
  }

  #arrived(socket: Socket, id: string): void {
    const pair = this.#pairs.get(id);
    if (pair === undefined) return void socket.resetAndDestroy();
    this.came += 1;
    if (this.mode === 'mirror' || this.mode === 'impersonate') {
      socket.write(Buffer.of(1));
      if (this.mode === 'mirror') socket.pipe(socket);
      else {
        socket.on('data', (chunk: Buffer) => this.seen.push(chunk));
        // as a peer would: a byte that says go on, then bytes of its own
        socket.write(Buffer.concat([Buffer.of(1), randomBytes(400)]));
      }
      return;
    }
    const other = this.#pairs.get(pair.other)?.waiting;
    if (other === undefined) {
      pair.waiting = socket;
      return;
    }
    this.joined += 1;
    for (const one of [socket, other]) one.write(Buffer.of(1));
    this.#pump(socket, other);
    this.#pump(other, socket);
  }

  #pump(from: Socket, to: Socket): void {
    from.on('data', (chunk: Buffer) => {
      this.seen.push(Buffer.from(chunk));
      const copy = Buffer.from(chunk);
      const at = copy.length >> 1;
      if (this.mode === 'tamper') copy[at] = (copy[at] ?? 0) ^ 1;
      to.write(copy);
    });
    from.on('close', () => to.destroy());
    from.resume();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
