/** Silent sockets at one door: opened, held, and opened again as the door drops them, from many addresses of loopback. */
import { connect, type Socket } from 'node:net';

export interface FloodOptions {
  readonly host?: string;
  readonly port: number;
  readonly sockets: number;
  /** Source addresses 127.1.x.y; one = a single attacker. @defaultValue 250 */
  readonly addresses?: number;
}

/** Milliseconds before a dropped socket is opened again; all together a few thousand a second. */
const AGAIN_MS = 2000;
/** Sockets opened in one turn. */
const BURST = 250;

export class Flood implements Disposable {
  /** Sockets that were connected at some time. */
  connected = 0;
  readonly #options: FloodOptions;
  readonly #open = new Set<Socket>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #stopped = false;

  private constructor(options: FloodOptions) {
    this.#options = options;
  }

  /** Resolves when every socket was tried once. */
  static async start(options: FloodOptions): Promise<Flood> {
    const flood = new Flood(options);
    for (let i = 0; i < options.sockets; i += BURST) {
      const burst = Array.from({ length: Math.min(BURST, options.sockets - i) }, (_, j) => flood.#dial(i + j));
      await Promise.all(burst);
    }
    return flood;
  }

  /** Sockets that stand now. */
  get open(): number {
    return [...this.#open].filter(({ readyState }) => readyState === 'open').length;
  }

  #dial(i: number): Promise<void> {
    const { host = '127.0.0.1', port, addresses = 250 } = this.#options;
    const from = i % addresses;
    const localAddress = `127.1.${from >> 8}.${(from & 0xff) + 1}`;
    return new Promise((resolve) => {
      const socket = connect({ host, port, localAddress });
      this.#open.add(socket);
      socket.on('connect', () => {
        this.connected += 1;
        resolve();
      });
      socket.on('error', () => undefined);
      socket.on('data', () => undefined);
      socket.on('close', () => {
        this.#open.delete(socket);
        resolve();
        if (this.#stopped) return;
        const timer = setTimeout(() => {
          this.#timers.delete(timer);
          void this.#dial(i);
        }, AGAIN_MS);
        this.#timers.add(timer);
      });
    });
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const socket of this.#open) socket.resetAndDestroy();
  }
}
