/** Two homes behind routers: their link is spliced, becomes direct and spliced again under a running transfer. */
import assert from 'node:assert/strict';
import { createCipheriv, createHash } from 'node:crypto';
import { once } from 'node:events';
import { after, before, suite, test } from 'node:test';
import { eventually } from '../e2e/machine.ts';
import { World } from '../e2e/world.ts';
import { Internet, labSkip } from './internet.ts';

const FULL = process.env['MOAT_TEST'] === 'full';
const MIB = 2 ** 20;
const TRANSFER_BYTES = FULL ? 1024 * MIB : 64 * MIB;
/** Seconds the transfer takes at its own pace, so that paths change under it. */
const TRANSFER_SECONDS = FULL ? 75 : 30;
const BULK_BYTES = FULL ? 1024 * MIB : 128 * MIB;
const HOMES: Readonly<Record<string, string>> = { gateway: 'hub', owner: 'owner', app: 'app', 'db-1': 'db' };
const PORTS = [4410, 4411] as const;

/** Answers `bytes seconds` with so many bytes of a key stream, evenly over that time. */
const SOURCE = `const { createServer } = require('node:net'); const { createCipheriv } = require('node:crypto');
createServer((s) => { s.on('error', () => {}); s.once('data', (line) => {
  const [bytes, seconds] = String(line).split(' ').map(Number);
  const stream = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16)); const start = Date.now(); let sent = 0;
  const pour = () => { while (sent < bytes) {
    const due = seconds ? Math.min(bytes, (Date.now() - start) / 1000 / seconds * bytes) : bytes;
    if (sent + 65536 > due && sent + 65536 <= bytes) return setTimeout(pour, 20);
    const size = Math.min(65536, bytes - sent); sent += size;
    if (!s.write(stream.update(Buffer.alloc(size))) && sent < bytes) return s.once('drain', pour); }
    s.end(); }; pour(); }); }).listen(7000, '127.0.0.1');`;

/** Prints sha256, bytes and seconds of what it got. */
const SINK = `const [port, host, line] = process.argv.slice(1); const hash = require('node:crypto').createHash('sha256');
let bytes = 0; const start = Date.now(); const s = require('node:net').connect(Number(port), host, () => s.write(line));
s.on('data', (d) => { hash.update(d); bytes += d.length; }); s.on('error', () => process.exit(1));
s.on('end', () => { process.stdout.write(hash.digest('hex') + ' ' + bytes + ' ' + (Date.now() - start) / 1000); process.exit(0); });`;

function digestOf(bytes: number): string {
  const stream = createCipheriv('aes-128-ctr', Buffer.alloc(16), Buffer.alloc(16));
  const hash = createHash('sha256');
  for (let at = 0; at < bytes; at += MIB) hash.update(stream.update(Buffer.alloc(MIB)));
  return hash.digest('hex');
}

suite('paths between two homes', { skip: labSkip() }, () => {
  let internet: Internet;
  const world = new World({
    gatewayAddress: '203.0.113.1',
    namespaceOf: (machine) => internet.namespace(HOMES[machine] ?? machine),
  });

  before(async () => {
    internet = new Internet();
    internet.addHost('hub', { address: 1 });
    internet.addHost('owner', { nat: 'eim', address: 10 });
    internet.addHost('app', { nat: 'eim', address: 20 });
    internet.addHost('db', { nat: 'eim', address: 30 });
    await world.startGateway();
    await world.grow({
      name: 'shop',
      members: {
        owner: { keeper: true },
        app: {},
        'db-1': {
          expose: ['7000'],
          flags: [
            '--listen',
            `/ip4/0.0.0.0/tcp/${PORTS[0]}`,
            '--announce',
            `/ip4/203.0.113.30/tcp/${PORTS[0]}`,
            '--link-port',
            String(PORTS[1]),
          ],
        },
      },
      services: { db: { on: ['db-1'], port: 5432, target: '127.0.0.1:7000' } },
      access: [{ from: ['app'], to: ['db'] }],
    });
    world.machine('db-1').program(process.execPath, ['-e', SOURCE]);
  });

  after(async () => {
    await world[Symbol.asyncDispose]();
    internet[Symbol.dispose]();
  });

  async function path(): Promise<string | undefined> {
    const { path: now } = await world.client('app').ping('shop', { target: 'db', timeoutMs: 15_000 });
    return now;
  }

  /** Begins to take `bytes` in the app's home. */
  async function take(
    bytes: number,
    seconds: number,
  ): Promise<{ readonly running: () => boolean; readonly result: Promise<string> }> {
    const { host, port } = await world.serviceAddress('app', 'db');
    const program = world
      .machine('app')
      .program(process.execPath, ['-e', SINK, '--', String(port), host, `${bytes} ${seconds}`]);
    let running = true;
    const result = once(program.child, 'close').then(() => {
      running = false;
      return program.output;
    });
    return { running: () => running, result };
  }

  /** MB/s of a transfer at full speed. */
  async function speed(): Promise<number> {
    const output = await (await take(BULK_BYTES, 0)).result;
    const [, bytes, seconds] = output.split(' ');
    assert.equal(Number(bytes), BULK_BYTES, output);
    return BULK_BYTES / 1e6 / Number(seconds);
  }

  test('a transfer arrives whole while its link becomes direct and spliced again', async (t) => {
    await eventually('the link is spliced', async () => (await path()) === 'spliced', 40_000);
    const transfer = await take(TRANSFER_BYTES, TRANSFER_SECONDS);
    internet.forward('db', PORTS);
    let since = Date.now();
    await eventually('the link is direct', async () => (await path()) === 'direct', 60_000);
    t.diagnostic(`direct ${Date.now() - since} ms after the port was opened`);
    assert.ok(transfer.running());
    internet.swallow('db', PORTS);
    since = Date.now();
    await eventually('the link is spliced again', async () => (await path()) === 'spliced', 40_000);
    t.diagnostic(`spliced ${Date.now() - since} ms after the direct path was cut`);
    assert.ok(transfer.running());
    const [digest, bytes] = (await transfer.result).split(' ');
    assert.equal(Number(bytes), TRANSFER_BYTES);
    assert.equal(digest, digestOf(TRANSFER_BYTES));
  });

  test('a spliced link is about as fast as a direct one', async (t) => {
    await eventually('the link is spliced', async () => (await path()) === 'spliced', 40_000);
    const spliced = await speed();
    internet.forward('db', PORTS);
    await eventually('the link is direct', async () => (await path()) === 'direct', 120_000);
    const direct = await speed();
    t.diagnostic(
      `spliced ${spliced.toFixed(0)} MB/s, direct ${direct.toFixed(0)} MB/s: ${(spliced / direct).toFixed(2)}`,
    );
    if (FULL) assert.ok(spliced >= 0.6 * direct, `${spliced} of ${direct} MB/s`);
  });
});
