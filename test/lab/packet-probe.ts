/** A program in a namespace that serves and asks as it is told: what gets through is seen from outside the kernel's rules. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface Ask {
  readonly kind: 'tcp' | 'udp';
  /** A local address to ask from. */
  readonly from?: string;
  readonly host: string;
  readonly port: number;
  /** After so many milliseconds without an answer it counts as none. @defaultValue 5000 */
  readonly waitMs?: number;
}

/** For what must not be heard: not longer than an answer takes where there is one. */
export const QUIET = { waitMs: 300 } as const;

/** What the server called itself; else how asking failed. */
export type Heard = string;

const PROGRAM = `
const net = require('node:net'), dgram = require('node:dgram');
const say = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
const held = new Map();
const does = {
  serve({ kind, host, port, name }, done) {
    if (kind === 'tcp') {
      net.createServer((socket) => { socket.on('error', () => {}); socket.on('data', (d) => socket.write(name + ' ' + d)); }).listen(port, host, () => done('ready'));
    } else {
      const socket = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4');
      socket.on('message', (d, from) => socket.send(name + ' ' + d, from.port, from.address)).bind(port, host, () => done('ready'));
    }
  },
  ask({ kind, from, host, port, waitMs = 5000 }, done) {
    if (kind === 'tcp') {
      const socket = net.connect({ host, port, localAddress: from }, () => socket.write('hello'));
      const end = (text) => { clearTimeout(timer); socket.destroy(); done(text); };
      const timer = setTimeout(() => end('silence'), waitMs);
      socket.on('data', (d) => end(String(d).split(' ')[0])).on('error', ({ code }) => end(code));
    } else {
      const socket = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4');
      const end = (text) => { clearTimeout(timer); socket.close(); done(text); };
      const timer = setTimeout(() => end('silence'), waitMs);
      socket.on('message', (d) => end(String(d).split(' ')[0])).on('error', ({ code }) => end(code));
      socket.bind(0, from, () => socket.connect(port, host, () => socket.send('hello', (e) => { if (e) end(e.code); })));
    }
  },
  hold({ from, host, port, id }, done) {
    const socket = net.connect({ host, port, localAddress: from }, () => { held.set(id, socket); done('open'); });
    socket.on('error', ({ code }) => done(code));
  },
  echo({ held: id, waitMs }, done) {
    const socket = held.get(id);
    const timer = setTimeout(() => done('silence'), waitMs);
    socket.once('data', (d) => { clearTimeout(timer); done(String(d).split(' ')[0]); });
    socket.write('again');
  },
};
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const call = JSON.parse(line); let over = false;
  does[call.does](call, (result) => { if (!over) { over = true; say({ id: call.id, result }); } });
});
say({ id: 0, result: 'ready' });
`;

/** Ends with its namespace. */
export class PacketProbe {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (result: string) => void>();
  #calls = 0;

  private constructor(namespace: string) {
    this.#child = spawn('ip', ['netns', 'exec', namespace, process.execPath, '-e', PROGRAM], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const { stdout } = this.#child;
    if (stdout === null) throw new Error('no output');
    createInterface({ input: stdout }).on('line', (line) => {
      const { id, result } = JSON.parse(line) as { id: number; result: string };
      this.#waiting.get(id)?.(result);
      this.#waiting.delete(id);
    });
  }

  static async start(namespace: string): Promise<PacketProbe> {
    const probe = new PacketProbe(namespace);
    await new Promise<string>((resolve) => probe.#waiting.set(0, resolve));
    return probe;
  }

  /** Answers each message with `name`, a space and the message. */
  async serve(kind: Ask['kind'], host: string, port: number, name: string): Promise<void> {
    await this.#call({ does: 'serve', kind, host, port, name });
  }

  ask(ask: Ask): Promise<Heard> {
    return this.#call({ does: 'ask', ...ask });
  }

  /** Opens a TCP connection that stays; its number, for {@link echo}. */
  async hold(ask: Omit<Ask, 'kind'>): Promise<number> {
    const id = this.#calls + 1;
    const result = await this.#call({ does: 'hold', ...ask });
    if (result !== 'open') throw new Error(`${ask.host}:${ask.port} ${result}`);
    return id;
  }

  echo(held: number, { waitMs }: Pick<Required<Ask>, 'waitMs'> = { waitMs: 5000 }): Promise<Heard> {
    return this.#call({ does: 'echo', held, waitMs });
  }

  #call(call: object): Promise<string> {
    const id = ++this.#calls;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#child.stdin?.write(`${JSON.stringify({ ...call, id })}\n`);
    });
  }
}
