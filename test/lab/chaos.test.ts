/**
 * Chaos: kill -9, pauses, cut lines and full disks, at random, under load. Afterwards every node runs the newest
 * version within ten seconds, nothing that was acknowledged is lost, and nothing that is refused ever succeeded.
 * MOAT_CHAOS_SEED=<number> repeats a run; MOAT_TEST=full runs ten minutes of it.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { headHash } from '@moat/contract';
import { errorCode } from '@moat/core';
import { createNodeKey } from '@moat/identity';
import { seeded, type Random } from '../adversary/mutate.ts';
import { Pen, pinned, publication, type Version } from '../adversary/pen.ts';
import { eventually, full, within } from '../e2e/machine.ts';
import { ChaosWorld } from './chaos-world.ts';
import { Internet, labSkip } from './internet.ts';

const SEED = Number(process.env['MOAT_CHAOS_SEED'] ?? randomInt(2 ** 31));
const CHAOS_MS = full ? 600_000 : 60_000;
const CONVERGED_MS = within(10_000);
/** Versions that a machine keeps. */
const VERSIONS_KEPT = 100;
const NODES = ['node-1', 'node-2', 'node-3', 'node-4', 'node-5'] as const;
const EVERYBODY = ['gateway', 'anchor-1', 'anchor-2', ...NODES] as const;

/** Writes each line to a file, flushed to the disk, before it answers with the same line. */
const DB = `const fs = require('node:fs'); const file = fs.openSync(process.argv[1], 'a');
  require('node:net').createServer((s) => { let rest = ''; s.on('error', () => {}); s.setEncoding('utf8').on('data', (text) => {
    const lines = (rest + text).split('\\n'); rest = lines.pop();
    for (const line of lines) { fs.writeSync(file, line + '\\n'); fs.fsyncSync(file); s.write(line + '\\n'); } }); }).listen(7000, '127.0.0.1');`;
/** Writes numbers one after another, each until it is acknowledged, and says which were. */
const WRITER = `const [host, port, log] = process.argv.slice(1); const fs = require('node:fs'); let seq = 1; const net = require('node:net');
  const next = () => { const s = net.connect({ host, port: +port }); s.setTimeout(3000, () => s.destroy()); s.on('error', () => {});
    s.on('connect', () => s.write('w' + seq + '\\n')); s.setEncoding('utf8').on('data', (text) => { if (text.startsWith('w' + seq + '\\n')) {
      fs.appendFileSync(log, 'acked w' + seq + '\\n'); seq++; setTimeout(() => s.write('w' + seq + '\\n'), 20); } });
    s.on('close', () => setTimeout(next, 100)); }; next();`;
const WEB = `require('node:http').createServer((q, r) => r.end('web')).listen(8080, '127.0.0.1')`;

suite(`chaos (seed ${SEED})`, { skip: labSkip(), timeout: CHAOS_MS + 240_000 }, () => {
  const random = seeded(SEED);
  const pen = new Pen();
  let world: ChaosWorld;
  let internet: Internet;
  let folder = '';
  let dbFile = '';
  /** What was acknowledged. */
  const acked = { versions: [] as Version[], names: new Set<string>() };
  const counts: Record<string, number> = {};
  const malloryKey = createNodeKey();

  before(async () => {
    internet = new Internet();
    world = new ChaosWorld(internet);
    folder = await mkdtemp(join(tmpdir(), 'moat-chaos-'));
    await world.start();
    const anchors = [await world.address('anchor-1'), await world.address('anchor-2')];
    const peers = await Promise.all(NODES.map((name) => world.peer(name)));
    const { pin } = world.world.gateway;
    const first = pen.write({
      anchors,
      members: [
        ...peers.map((peer, i) => pinned(NODES[i] ?? '', i + 2, peer, i < 2 ? { keeper: true } : {})),
        pinned('mallory', 100, malloryKey.peerId),
      ],
      services: [
        { name: 'db', on: ['node-3'], port: 5432, target: '127.0.0.1:7000', protocol: 'tcp' },
        { name: 'bait', on: ['node-3'], port: 5433, target: '127.0.0.1:7001', protocol: 'tcp' },
        { name: 'web', on: ['node-4'], port: 80, target: '127.0.0.1:8080', protocol: 'http' },
      ],
      access: [
        { from: ['node-5'], to: ['db'] },
        { from: ['mallory'], to: ['bait'] },
      ],
      publish: [publication('name-0', 'web', pin.domain, pin.peers)],
    });
    await pen.submit(world.client('node-1'), first);
    acked.versions.push(first);
    const keepers = [await world.address('node-1')];
    for (const name of NODES.slice(1)) await world.client(name).join({ token: pen.token(keepers), waitMs: 30_000 });
    const { deployment } = pen;
    await world.client('node-3').expose({ deployment, target: '7000' });
    await world.client('node-4').expose({ deployment, target: '8080', public: true });

    dbFile = join(folder, 'db.log');
    world.place('node-3').machine.program(process.execPath, ['-e', DB, dbFile]);
    world.place('node-4').machine.program(process.execPath, ['-e', WEB]);
    const db = await eventually('db has an address', async () => {
      const { services } = await world.client('node-5').deployment(deployment);
      return services.find(({ name }) => name === 'db')?.local ?? undefined;
    });
    world.place('node-5').machine.program(process.execPath, ['-e', WRITER, db.host, String(db.port), logOf('writer')]);
    const key = Buffer.from(malloryKey.export()).toString();
    await writeFile(
      join(folder, 'mallory.json'),
      JSON.stringify({ key, version: first, target: peers[2], keepers: [...keepers, ...(await relayed(anchors))] }),
    );
    const script = new URL('./chaos-mallory.ts', import.meta.url).pathname;
    world.world.gateway.machine.program('ip', [
      'netns',
      'exec',
      internet.namespace('mallory'),
      process.execPath,
      '--conditions=@moat/source',
      '--disable-warning=ExperimentalWarning',
      script,
      folder,
    ]);
    await eventually('the load runs', async () => (await said('writer')).includes('acked w5\n'), 60_000);
    await eventually('the attack runs', async () => (await said('mallory')).includes('asked GRANT_DENIED'), 60_000);
    await eventually('the name is live', async () => (await liveNames()).has('name-0'), 60_000);
    acked.names.add('name-0');
  });

  after(async () => {
    await world[Symbol.asyncDispose]();
    internet[Symbol.dispose]();
    await rm(folder, { recursive: true, force: true });
  });

  const logOf = (who: string): string => join(folder, `${who}.log`);
  const said = (who: string): Promise<string> => readFile(logOf(who), 'utf8');

  /** The second keeper has no address of its own. */
  async function relayed(anchors: readonly string[]): Promise<string[]> {
    const peer = await world.peer('node-2');
    return anchors.map((anchor) => `${anchor}/p2p-circuit/p2p/${peer}`);
  }

  async function liveNames(): Promise<Set<string>> {
    const publications = await world.client('node-4').publications({ timeoutMs: 3000 });
    return new Set(publications.filter(({ state }) => state === 'live').map(({ name }) => name));
  }

  test('after chaos, everything that was acknowledged stands, and nothing refused succeeded', async (t) => {
    const end = Date.now() + CHAOS_MS;
    await Promise.all([faults(end), versions(end)]);
    await heal();
    t.diagnostic(`faults ${JSON.stringify(counts)}, versions ${acked.versions.length}, names ${acked.names.size}`);

    const newest = await newestAtOwner();
    const begin = Date.now();
    for (const name of NODES) {
      const left = Math.max(1, CONVERGED_MS - (Date.now() - begin));
      await eventually(
        `${name} runs version ${newest.version}`,
        async () => {
          const { version, head } = await world.client(name).deployment(pen.deployment, { timeoutMs: 2000 });
          if (version !== newest.version || head !== newest.head) throw new Error(`at version ${version}`);
          return true;
        },
        left,
      );
    }
    t.diagnostic(`converged after ${Date.now() - begin} ms`);

    // versions: each acknowledged one is stored at the owner's machine as it was signed, as far back as it keeps them
    const kept = acked.versions.filter(({ contract }) => contract.version > newest.version - VERSIONS_KEPT);
    for (const { contract, signed } of kept) {
      const stored = await world.client('node-1').version(pen.deployment, contract.version);
      assert.deepEqual(stored.signed, structuredClone(signed), `version ${contract.version}`);
    }
    // claims: each witnessed one is known everywhere, unless a version decided otherwise
    const claims = [...(await said('mallory')).matchAll(/^joined (\S+) (\S+)$/gm)].map(([, member, peer]) => ({
      member,
      peer,
    }));
    t.diagnostic(`claims ${claims.length}`);
    for (const { member, peer } of claims) {
      for (const name of NODES) {
        await eventually(`${name} knows the claim of ${member}`, async () => {
          const { places } = await world.client(name).deployment(pen.deployment);
          return places.find((place) => place.name === member)?.peer === peer;
        });
      }
    }
    // names: each that was live is so again
    await eventually(
      'every name is live',
      async () => {
        const live = await liveNames();
        return [...acked.names].every((name) => live.has(name));
      },
      90_000,
    );
    // writes: each acknowledged one is in the service's file
    const written = new Set((await readFile(dbFile, 'utf8')).split('\n'));
    const writes = [...(await said('writer')).matchAll(/^acked (w\d+)$/gm)].map(([, line]) => line ?? '');
    t.diagnostic(`writes ${writes.length}`);
    assert.ok(writes.length > 20);
    for (const line of writes) assert.ok(written.has(line), `${line} was acknowledged and is not there`);
    // and they go on
    const count = writes.length;
    await eventually(
      'writes go on',
      async () => [...(await said('writer')).matchAll(/^acked /gm)].length > count,
      60_000,
    );
    // refused access: not once
    const asked = [...(await said('mallory')).matchAll(/^asked (\S+)$/gm)].map(([, code]) => code ?? '');
    t.diagnostic(`asked ${asked.length}: ${[...new Set(asked)].join(', ')}`);
    assert.ok(asked.filter((code) => code === 'GRANT_DENIED').length > 5);
    assert.ok(!asked.includes('connected'), 'the refused one got in');
    assert.ok(![...written].some((line) => line.length > 0 && !/^w\d+$/.test(line)));
  });

  /** One fault at a time begins; several may run. */
  async function faults(end: number): Promise<void> {
    const running = new Map<string, Promise<void>>();
    while (Date.now() < end) {
      const name = pick(EVERYBODY, random);
      if (!running.has(name) && running.size < 4) {
        running.set(
          name,
          fault(name).finally(() => running.delete(name)),
        );
      }
      await delay(300 + random.below(900));
    }
    await Promise.all(running.values());
  }

  async function fault(name: string): Promise<void> {
    const kinds = ['kill', 'pause', 'cut', ...(name.startsWith('node') ? ['full'] : [])] as const;
    const kind = pick(kinds, random);
    const forMs = 1000 + random.below(6000);
    counts[kind] = (counts[kind] ?? 0) + 1;
    switch (kind) {
      case 'kill':
        await world.daemon(name).kill('SIGKILL');
        await delay(forMs / 2);
        world.revive(name);
        break;
      case 'pause':
        world.daemon(name).child.kill('SIGSTOP');
        await delay(forMs);
        world.daemon(name).child.kill('SIGCONT');
        break;
      case 'cut':
        internet.setLine(name, false);
        await delay(forMs);
        internet.setLine(name, true);
        break;
      default:
        world.fillDisk(name);
        await delay(forMs);
        world.emptyDisk(name);
    }
  }

  /** The owner writes version after version at its own machine; what is not acknowledged is submitted again. */
  async function versions(end: number): Promise<void> {
    let pending: Version | undefined;
    let names = 1;
    let guests = 0;
    while (Date.now() < end) {
      await delay(300 + random.below(700));
      if (pending === undefined) {
        const { contract } = pen.version;
        const { pin } = world.world.gateway;
        const choice = random.below(4);
        if (choice === 0 && names < 20) {
          pending = pen.write({
            publish: [...contract.publish, publication(`name-${names++}`, 'web', pin.domain, pin.peers)],
          });
        } else if (choice === 1 && guests < 40) {
          const place = pen.invited(`guest-${guests}`, 101 + guests);
          guests += 1;
          pending = pen.write({ members: [...contract.members, place.member] });
          tokens.set(pending, pen.tokenFor(pending, [], place));
        } else {
          pending = pen.write({
            access: [...contract.access.slice(0, 2), { from: ['node-2'], to: random.below(2) ? ['db'] : ['web'] }],
          });
        }
      }
      try {
        await pen.submit(world.client('node-1'), pending, { timeoutMs: 3000 });
        acked.versions.push(pending);
        const token = tokens.get(pending);
        if (token !== undefined) await writeFile(join(folder, `${pending.contract.version}.token`), token);
        pending = undefined;
      } catch (error) {
        const code = errorCode(error);
        counts[code] = (counts[code] ?? 0) + 1;
      }
      for (const name of await liveNames().catch(() => [])) acked.names.add(name);
    }
    // the last one may be in force without having been acknowledged; it is no loss either way
    if (pending !== undefined) lastUnknown = headHash(pending.signed.head);
  }

  const tokens = new Map<Version, string>();
  let lastUnknown = '';

  async function heal(): Promise<void> {
    for (const name of EVERYBODY) {
      internet.setLine(name, true);
      world.daemon(name).child.kill('SIGCONT');
      if (name.startsWith('node')) world.emptyDisk(name);
      world.revive(name);
    }
    for (const name of [...NODES, 'anchor-1', 'anchor-2']) await world.answers(name);
  }

  async function newestAtOwner(): Promise<{ version: number; head: string }> {
    const { version, head } = await world.client('node-1').deployment(pen.deployment);
    const last = acked.versions.at(-1);
    assert.ok(last);
    assert.ok(
      head === headHash(last.signed.head) || head === lastUnknown,
      `the owner's machine runs version ${version}`,
    );
    return { version, head };
  }
});

function pick<T extends string>(from: readonly T[], random: Random): T {
  const [picked] = from.slice(random.below(from.length));
  if (picked === undefined) throw new Error('nothing to pick from');
  return picked;
}
