/**
 * Malformed messages to every protocol of real processes, as a stranger and as a member: oversize, truncated, random,
 * and mutations of the messages that are really sent. Each ends in an answer with a code, or a reset; nothing is
 * taken, nothing grows, nothing stops.
 */
import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { after, before, suite, test } from 'node:test';
import { parse } from 'yaml';
import { bundleFor, createClaim, createInvite } from '@moat/contract';
import type { PeerConnection } from '@moat/core';
import { eventually, full } from '../e2e/machine.ts';
import { mutateBytes, mutateJson, seeded, type Random } from './mutate.ts';
import { pinned } from './pen.ts';
import { Shop, tell } from './shop.ts';
import { Twin, framed, inParts } from './twins/twin.ts';

/** MOAT_FUZZ_SEED=<number> repeats a run. */
const SEED = Number(process.env['MOAT_FUZZ_SEED'] ?? randomInt(2 ** 31));
/** Mutations of each real message, for each protocol and each kind of peer. */
const MUTATIONS = full ? 400 : 24;
/** Messages under way at a time. */
const PARALLEL = 4;

suite(`malformed messages (seed ${SEED})`, { timeout: 280_000 }, () => {
  let shop: Shop;
  let member: Twin;
  let corpus: Record<string, Buffer[]>;
  const random = seeded(SEED);

  before(async () => {
    member = await Twin.start();
    shop = await Shop.open({
      more: (opening) => ({
        members: [...opening.members(), pinned('mallory', 10, member.peer)],
        access: [{ from: ['app', 'mallory'], to: ['db', 'web'] }],
      }),
    });
    member.view.holdVersion(shop.pen.version);
    member.view.follows = false;
    corpus = realMessages();
    await eventually('the gateway serves', () => shop.served());
  });

  after(async () => {
    await member[Symbol.asyncDispose]();
    await shop[Symbol.asyncDispose]();
  });

  /** Messages as our own code sends them, with and without the deployment's real names in them. */
  function realMessages(): Record<string, Buffer[]> {
    const { contract, proof } = shop.pen.version;
    const { deployment } = contract;
    const details = { nonce: 'A'.repeat(22), member: 'laptop', wireguard: null };
    const inviteSigner = createInvite(randomBytes(32)).signer;
    const signed = createClaim({ deployment, details, nodeSigner: member.key.signer, inviteSigner });
    const gateway = shop.world.gateway.pin.peers[0]?.split('/p2p/')[1] ?? '';
    const list = Buffer.from(JSON.stringify({ deployments: [deployment] }).padEnd(1024));
    const ticket = { id: 'A'.repeat(22), secret: 'A'.repeat(43) };
    const open = Buffer.concat([Buffer.of(1), Buffer.from(deployment), Buffer.of(2), Buffer.from('db')]);
    return {
      '/moat/hello/1': [framed(list), Buffer.concat([framed(list), inParts({ deployment, proof, claims: [] })])],
      '/moat/heads/1': [
        framed({ kind: 'pull', deployment, version: 0 }),
        Buffer.concat([framed({ kind: 'news' }), inParts({ deployment, proof, claims: [] })]),
        Buffer.concat([
          framed({ kind: 'compare', deployment }),
          inParts({ version: 0, head: 'A'.repeat(43), claims: [] }),
        ]),
      ],
      '/moat/join/1': [framed({ signed, details })],
      '/moat/publish/1': [inParts(bundleFor(proof, contract, [], gateway))],
      '/moat/link/1': [
        framed({ type: 'ask' }),
        framed({ type: 'offer', tickets: [ticket], port: 9, kind: 'member', expires: 9000 }),
      ],
      '/moat/link-stream/1': [
        Buffer.concat([frame(1, 1, open), frame(3, 1, Buffer.from('data')), frame(4, 1, Buffer.alloc(0))]),
        Buffer.concat([frame(6, 0, Buffer.of(0, 1, 0, 0)), frame(7, 0, Buffer.alloc(9)), frame(9, 0, Buffer.of(0))]),
      ],
      '/moat/proposals/1': [framed({ kind: 'list', deployment })],
      '/moat/splice/1': [framed({ type: 'ask' })],
      '/moat/directory/1': [framed({ kind: 'list' })],
      '/moat/id/1.0.0': [framed(randomBytes(40))],
      '/moat/ping/1.0.0': [randomBytes(32)],
      '/libp2p/circuit/relay/0.2.0/hop': [Buffer.from([2, 8, 0])],
      '/libp2p/circuit/relay/0.2.0/stop': [Buffer.from([2, 8, 0])],
    };
  }

  const targets = (): Record<string, readonly string[]> => ({
    hub: shop.addresses['hub'] ?? [],
    web: shop.addresses['web'] ?? [],
    gateway: shop.world.gateway.pin.peers,
  });

  for (const who of ['stranger', 'member'] as const) {
    test(`to every protocol, from a ${who}`, async () => {
      const state = await fingerprint();
      const jobs: (() => Promise<void>)[] = [];
      for (const [name, addresses] of Object.entries(targets())) {
        for (const [protocol, messages] of Object.entries(corpus)) {
          const inputs = [...fixedInputs(), ...mutations(messages, random)];
          jobs.push(async () => {
            // a stranger has few hellos and requests: a new one for each protocol
            await using fresh = who === 'member' ? undefined : await Twin.start();
            for (const bytes of inputs) await send(fresh ?? member, name, addresses, protocol, bytes);
          });
        }
      }
      await inTurn(jobs);
      assert.deepEqual(await fingerprint(), state, 'nothing was taken');
      await goesOn();
    });
  }

  async function send(
    from: Twin,
    name: string,
    addresses: readonly string[],
    protocol: string,
    bytes: Uint8Array,
  ): Promise<void> {
    let connection: PeerConnection | undefined;
    // it may have been cut off for the message before
    await eventually(`${name} takes connections`, async () => {
      connection = await from.dial(addresses);
      return !connection.closed.aborted;
    });
    if (connection === undefined) return;
    const { ending } = await from.sendRaw(connection, protocol, bytes, 30_000);
    const sample = Buffer.from(bytes).subarray(0, 60).toString('base64');
    assert.notEqual(ending, 'open', `${name} ${protocol} still open after 30 s: ${sample}`);
  }

  test('to the link ports', async () => {
    const state = await fingerprint();
    const web = await shop.client('web').status();
    const config = await gatewayConfig();
    const hello = Buffer.from('16030100c8010000c40303', 'hex');
    const inputs = [
      Buffer.alloc(0),
      Buffer.of(1),
      Buffer.concat([Buffer.of(1), randomBytes(16)]),
      Buffer.concat([Buffer.of(2), randomBytes(16)]),
      Buffer.concat([Buffer.of(1), randomBytes(16), hello]),
      Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'),
      hello,
      ...Array.from({ length: MUTATIONS }, () => randomBytes(1 + random.below(4000))),
    ];
    for (const port of [web.linkPort ?? 0, portIn(config.listen.link)]) {
      await inTurn(
        inputs.map((bytes) => async () => {
          const { answer, closed } = await poke(port, bytes);
          assert.equal(answer.length, 0, 'not one byte is said to who has no ticket');
          assert.ok(closed);
        }),
      );
    }
    assert.deepEqual(await fingerprint(), state);
    await goesOn();
  });

  test('to the local API', async () => {
    const state = await fingerprint();
    const path = shop.world.machine('web').path('state', 'agent.sock');
    const body = (text: string, headers = ''): Buffer =>
      Buffer.from(
        `POST /v1/deployments/shop/versions HTTP/1.1\r\nHost: moat\r\nContent-Type: application/json\r\n${headers}Content-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`,
      );
    const { contract, signed } = shop.pen.version;
    const real = { contract, signed };
    const inputs = [
      Buffer.from('GET /v1/status HTTP/1.1\r\nHost: moat\r\nConnection: close\r\n\r\n'),
      body('{'),
      body('['.repeat(100_000)),
      body(JSON.stringify(real)),
      body('{}', 'Transfer-Encoding: chunked\r\n'),
      Buffer.from(`GET /${'a'.repeat(40_000)} HTTP/1.1\r\nHost: moat\r\n\r\n`),
      randomBytes(3000),
      ...Array.from({ length: MUTATIONS * 2 }, () => body(JSON.stringify(mutateJson(real, random)))),
    ];
    await inTurn(
      inputs.map((bytes) => async () => {
        const { answer, closed } = await poke(path, bytes);
        assert.ok(closed);
        if (answer.length > 0) assert.match(answer.toString('latin1'), /^HTTP\/1\.1 (200|4\d\d) /);
      }),
    );
    assert.deepEqual(await fingerprint(), state);
    await goesOn();
  });

  test('to the http and https of the gateway', async () => {
    const state = await fingerprint();
    const seeds = [
      'GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n',
      'POST /upload HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nbody\r\n0\r\n\r\n',
      'POST /upload HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody',
      'GET / HTTP/1.1\r\nHost: shop.localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n',
    ].map((text) => Buffer.from(text));
    // both lengths, and a chunk that lies: what one parser takes for a body another may take for a request
    const smuggle = [
      'POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n',
      'POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n',
      'POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbodyx',
      'GET / HTTP/1.1\r\nHost: shop.localhost\r\nHost: db.localhost\r\n\r\n',
      'GET / HTTP/1.1\r\nHost : shop.localhost\r\n\r\n',
      'GET / HTTP/1.1\nHost: shop.localhost\n\n',
      `GET / HTTP/1.1\r\nHost: shop.localhost\r\n${'x: y\r\n'.repeat(20_000)}\r\n`,
    ].map((text) => Buffer.from(text));
    const h2 = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), randomBytes(500)]);
    const inputs = [...smuggle, h2, randomBytes(2000), ...mutations(seeds, random)];
    const config = await gatewayConfig();
    await inTurn(
      inputs.flatMap((bytes) => [
        async () => {
          const { answer, closed } = await pokeTls(bytes);
          assert.ok(closed, Buffer.from(bytes).subarray(0, 80).toString('latin1'));
          assert.ok(!answer.includes('root:'));
        },
        async () => {
          const { closed } = await poke(portIn(config.listen.http), bytes);
          assert.ok(closed);
        },
      ]),
    );
    for (const bytes of smuggle.slice(0, 5)) {
      assert.match((await pokeTls(bytes)).answer.toString('latin1'), /^(HTTP\/1\.1 400 |$)/, bytes.toString());
    }
    assert.deepEqual(await fingerprint(), state);
    await goesOn();
  });

  /** What must not change by anything sent here. */
  async function fingerprint(): Promise<unknown> {
    const details = await Promise.all(
      ['hub', 'web', 'app'].map((name) => shop.client(name).deployment(shop.pen.deployment)),
    );
    return details.map(({ version, head, state, claims, places }) => ({
      version,
      head,
      state,
      claims,
      places: places.map(({ name, peer }) => [name, peer]),
    }));
  }

  /** Honest machines are served, and every process is the one that was started. */
  async function goesOn(): Promise<void> {
    const processes = [...shop.world.agents.values(), shop.world.gateway.daemon];
    for (const daemon of processes) assert.ok(daemon.running, daemon.output.slice(-2000));
    await eventually('the public is served', () => shop.served());
    const db = await shop.world.serviceAddress('app', 'db');
    await eventually('members reach each other', async () => (await tell(db, 'honest')) === 'honest');
    for (const daemon of processes) {
      assert.ok((await daemon.residentBytes()) < 600 * 1024 * 1024, 'memory is bounded');
      assert.doesNotMatch(daemon.output, /uncaughtException|unhandledRejection|"code":"INTERNAL"/);
    }
  }

  async function gatewayConfig(): Promise<{ listen: { http: string; link: string } }> {
    return parse(await readFile(shop.world.gateway.machine.path('gateway.yaml'), 'utf8')) as never;
  }

  function pokeTls(bytes: Uint8Array): Promise<Poked> {
    return collect(connectTls(shop.world.gateway.browser.tls('shop.localhost')), bytes);
  }
});

interface Poked {
  readonly answer: Buffer;
  /** False when the other side left the socket open for 40 s. */
  readonly closed: boolean;
}

function poke(to: number | string, bytes: Uint8Array): Promise<Poked> {
  return collect(typeof to === 'number' ? connect(to, '127.0.0.1') : connect(to), bytes);
}

/** Sends, ends our direction, and collects until the other side is done. */
function collect(socket: Socket, bytes: Uint8Array): Promise<Poked> {
  const chunks: Buffer[] = [];
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      socket.destroy();
      resolve({ answer: Buffer.concat(chunks), closed: false });
    }, 40_000);
    socket.on('data', (chunk: Buffer) => void chunks.push(chunk));
    socket.on('error', () => undefined);
    socket.on('close', () => {
      clearTimeout(timer);
      resolve({ answer: Buffer.concat(chunks), closed: true });
    });
    socket.end(bytes);
  });
}

/** What breaks decoders whatever they decode. */
function fixedInputs(): Buffer[] {
  return [
    Buffer.alloc(0),
    Buffer.of(0xff, 0xff, 0xff, 0xff, 1, 2, 3),
    Buffer.of(0, 1, 0, 1),
    Buffer.concat([Buffer.of(0, 0, 0xff, 0xff), Buffer.from('{"deployments":[')]),
    framed(Buffer.from('['.repeat(60_000))),
    framed(Buffer.of(0x22, 0xff, 0xfe, 0x22)),
    framed(Buffer.alloc(0), Buffer.alloc(0), Buffer.alloc(0)),
    randomBytes(100_000),
  ];
}

/** Mutations of the bytes, and of the JSON in them. */
function mutations(messages: readonly Buffer[], random: Random): Buffer[] {
  return Array.from({ length: MUTATIONS }, (_, i) => {
    const seed = messages[i % messages.length] ?? Buffer.alloc(0);
    const text = seed.subarray(4).toString();
    if (i % 2 === 0 && text.startsWith('{')) {
      try {
        return framed(mutateJson(JSON.parse(text), random) as object);
      } catch {
        // not one message of JSON: its bytes then
      }
    }
    return mutateBytes(seed, random);
  });
}

async function inTurn(jobs: readonly (() => Promise<void>)[]): Promise<void> {
  const queue = [...jobs];
  const worker = async (): Promise<void> => {
    for (let job = queue.shift(); job !== undefined; job = queue.shift()) await job();
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
}

/** A frame of a link. */
function frame(type: number, id: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt32BE((type << 24) | payload.length, 0);
  header.writeUInt32BE(id, 4);
  return Buffer.concat([header, payload]);
}

function portIn(address: string): number {
  return Number(address.split(':').at(-1));
}
