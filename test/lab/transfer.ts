/** A TCP transfer at its own pace, watched from outside: what arrived, whole or not, and how long nothing came. */
import { createCipheriv, createHash } from 'node:crypto';
import { once } from 'node:events';
import type { Daemon, Machine } from '../e2e/machine.ts';

/** Answers a line `bytes seconds` with so many bytes of a key stream, evenly over that time; at once from a second line on. */
const SOURCE = `const [port] = process.argv.slice(1); const { createCipheriv } = require('node:crypto');
require('node:net').createServer((s) => { s.on('error', () => {}); s.once('data', (line) => {
  let [bytes, seconds] = String(line).split(' ').map(Number); s.once('data', () => { seconds = 0.001; });
  const stream = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)); const start = Date.now(); let sent = 0;
  const pour = () => { const due = Math.min(bytes, (Date.now() - start) / 1000 / seconds * bytes);
    while (sent < due) { const size = Math.min(16384, bytes - sent); sent += size;
      if (!s.write(stream.update(Buffer.alloc(size))) && sent < bytes) return s.once('drain', pour); }
    if (sent < bytes) setTimeout(pour, 10); else s.end(); };
  pour(); }); }).listen(Number(port), '127.0.0.1', () => console.log('ready'));`;

/** Says how much has come whenever something comes, and at the end its digest. A signal asks for the rest at once. */
const SINK = `const [host, port, line] = process.argv.slice(1); const hash = require('node:crypto').createHash('sha256');
let bytes = 0; const say = (value) => process.stdout.write(JSON.stringify(value) + '\\n');
const s = require('node:net').connect(Number(port), host, () => s.write(line)); let told = 0;
s.on('data', (d) => { hash.update(d); bytes += d.length; const now = Date.now(); if (now - told > 20) { told = now; say({ bytes, at: now }); } });
process.on('SIGUSR2', () => s.write('the rest'));
s.on('error', (e) => { say({ error: e.code }); process.exit(1); });
s.on('end', () => { say({ bytes, at: Date.now(), digest: hash.digest('hex') }); process.exit(0); });`;

/** Bytes a second: little, so that other tests run beside it. */
const PACE = 500_000;
/** Longer than any test needs it. */
const SECONDS = 120;
const BYTES = SECONDS * PACE;

/** Starts what transfers come from, on a loopback port. */
export async function startSource(machine: Machine, port: number): Promise<void> {
  const program = machine.program(process.execPath, ['-e', SOURCE, '--', String(port)]);
  while (!program.output.includes('ready')) await once(program.child.stdout ?? program.child, 'data');
}

export class Transfer {
  readonly #program: Daemon;
  readonly #closed: Promise<unknown>;

  /** Begins at once, and goes on until it is asked for the rest. */
  constructor(machine: Machine, from: { readonly host: string; readonly port: number }) {
    const line = `${BYTES} ${SECONDS}`;
    const args = ['-e', SINK, '--', from.host, String(from.port), line];
    this.#program = machine.program(process.execPath, args);
    this.#closed = once(this.#program.child, 'close');
  }

  get running(): boolean {
    return this.#program.running;
  }

  /** Bytes that have arrived. */
  get bytes(): number {
    return this.#said().at(-1)?.bytes ?? 0;
  }

  /** Milliseconds of the longest silence since `since`, in milliseconds since 1970, also of one that goes on. */
  stall(since: number): number {
    const times = this.#said().flatMap(({ at }) => (at === undefined || at < since ? [] : [at]));
    const ends = this.running ? [...times, Date.now()] : times;
    return ends.reduce((longest, at, i) => Math.max(longest, at - (ends[i - 1] ?? since)), 0);
  }

  /** Asks for the rest, and resolves when all has come. @throws when something is missing or wrong */
  async whole(): Promise<void> {
    this.#program.child.kill('SIGUSR2');
    await this.#closed;
    const last = this.#said().at(-1);
    if (last?.digest !== digestOf(BYTES)) throw new Error(`the transfer ended with ${JSON.stringify(last)}`);
  }

  #said(): readonly Said[] {
    const lines = this.#program.output.split('\n').filter((line) => line.endsWith('}'));
    return lines.map((line) => JSON.parse(line) as Said);
  }
}

interface Said {
  readonly bytes?: number;
  readonly at?: number;
  readonly digest?: string;
  readonly error?: string;
}

function digestOf(bytes: number): string {
  const stream = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16));
  return createHash('sha256')
    .update(stream.update(Buffer.alloc(bytes)))
    .digest('hex');
}
