/** Numbered datagrams to an echo and back, five hundred a second: what is lost on the way is counted. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

const ECHO = `const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (data, { address, port }) => socket.send(data, port, address, () => {}));
socket.bind(Number(process.argv[1]), () => console.log('ready'));`;
const CLIENT = `const [host, port] = process.argv.slice(1);
const socket = require('node:dgram').createSocket('udp4');
let sent = 0;
const back = new Set();
socket.on('message', (data) => back.add(data.readUInt32BE()));
socket.on('error', () => {});
const timer = setInterval(() => {
  const data = Buffer.alloc(1000); data.writeUInt32BE(++sent); socket.send(data, Number(port), host, () => {});
}, 2);
const say = () => console.log(JSON.stringify({ sent, received: back.size }));
process.stdin.on('data', (data) => {
  if (String(data) === 'stop') { clearInterval(timer); setTimeout(() => { say(); process.exit(); }, 200); } else say();
});
console.log('ready');`;

/** Datagrams so far. */
export interface Counted {
  readonly sent: number;
  readonly received: number;
}

export class UdpStream implements Disposable {
  readonly #echo: ChildProcess;
  readonly #client: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  private constructor(echo: ChildProcess, client: ChildProcess, lines: AsyncIterator<string>) {
    this.#echo = echo;
    this.#client = client;
    this.#lines = lines;
  }

  /** From the namespace `from` to `host` at the namespace `to`. */
  static async start(from: string, to: string, host: string, port: number): Promise<UdpStream> {
    const run = (namespace: string, ...args: string[]): ChildProcess =>
      spawn('ip', ['netns', 'exec', namespace, process.execPath, '-e', ...args], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
    const echo = run(to, ECHO, '--', String(port));
    if (echo.stdout) await once(echo.stdout, 'data', { signal: AbortSignal.timeout(10_000) });
    const client = run(from, CLIENT, '--', host, String(port));
    if (!client.stdout) throw new Error('no output');
    const lines = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
    await lines.next();
    return new UdpStream(echo, client, lines);
  }

  async count(): Promise<Counted> {
    return this.#ask('count');
  }

  /** Waits until so many more came back. Fails after 10 s. */
  async more(packets: number): Promise<Counted> {
    const deadline = Date.now() + 10_000;
    const { received } = await this.count();
    for (;;) {
      const now = await this.count();
      if (now.received >= received + packets) return now;
      if (Date.now() > deadline)
        throw new Error(`${now.received - received} of ${packets} datagrams came back in 10 s`);
    }
  }

  /** Sends no more; what is under way is waited for. */
  async stop(): Promise<Counted> {
    return this.#ask('stop');
  }

  [Symbol.dispose](): void {
    this.#client.kill('SIGKILL');
    this.#echo.kill('SIGKILL');
  }

  async #ask(what: string): Promise<Counted> {
    this.#client.stdin?.write(what);
    const { value } = (await this.#lines.next()) as { value: string };
    return JSON.parse(value) as Counted;
  }
}
