/** A program with one UDP socket in a namespace, told what to send and telling what arrives. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface Datagram {
  readonly text: string;
  /** Whom it came from, as this socket sees it. */
  readonly host: string;
  readonly port: number;
}

const PROGRAM = `const [type, port] = process.argv.slice(1);
const socket = require('node:dgram').createSocket(type);
const say = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
socket.on('message', (data, { address, port }) => say({ text: String(data), host: address, port }));
socket.on('error', () => {});
socket.bind(Number(port), () => say({ text: 'ready', host: '', port: 0 }));
require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { text, host, port } = JSON.parse(line); socket.send(text, port, host, () => {}); });`;

export class UdpProbe {
  readonly #child: ChildProcess;
  readonly #received: Datagram[] = [];
  #wake: () => void = () => undefined;

  private constructor(namespace: string, port: number, family: 4 | 6) {
    const program = [process.execPath, '-e', PROGRAM, '--', `udp${family}`, String(port)];
    this.#child = spawn('ip', ['netns', 'exec', namespace, ...program], { stdio: ['pipe', 'pipe', 'inherit'] });
    const { stdout } = this.#child;
    if (stdout === null) throw new Error('no output');
    createInterface({ input: stdout }).on('line', (line) => {
      this.#received.push(JSON.parse(line) as Datagram);
      this.#wake();
    });
  }

  /** Ends with the namespace. */
  static async bind(namespace: string, port: number, family: 4 | 6 = 4): Promise<UdpProbe> {
    const probe = new UdpProbe(namespace, port, family);
    await probe.next();
    return probe;
  }

  send(text: string, { host, port }: { readonly host: string; readonly port: number }): void {
    this.#child.stdin?.write(`${JSON.stringify({ text, host, port })}\n`);
  }

  /** The next datagram. Fails after `timeoutMs`. */
  async next(timeoutMs = 10_000): Promise<Datagram> {
    for (;;) {
      const datagram = this.#received.shift();
      if (datagram !== undefined) return datagram;
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error('no datagram came')), timeoutMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }
}
