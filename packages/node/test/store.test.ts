import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isMoatError } from '@moat/core';
import { createReceipt, headHash } from '@moat/contract';
import { createNodeKey } from '@moat/identity';
import { createManualClock } from '@moat/testkit';
import { Database, translate } from '../src/store/database.ts';
import { DeploymentStore } from '../src/store/deployment-store.ts';
import { MachineStore } from '../src/store/machine-store.ts';
import { OwnerStore } from '../src/store/owner-store.ts';
import { Chain } from './chain.ts';

const WRITER = fileURLToPath(new URL('writer.ts', import.meta.url));

async function temporary(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'moat-store-'));
  t.after(() => rm(directory, { recursive: true }));
  return directory;
}

test('a kill -9 at any instant loses nothing that was acknowledged', async (t) => {
  const directory = await temporary(t);
  const acknowledged: string[] = [];
  for (let round = 0; round < 6; round++) {
    const child = spawn(process.execPath, ['--conditions=@moat/source', WRITER, directory, String(round)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    // A different instant each time: after so many acknowledgements.
    const enough = 5 + round * 23;
    let seen = 0;
    for await (const line of createInterface({ input: child.stdout })) {
      acknowledged.push(line);
      seen += 1;
      if (seen === enough) child.kill('SIGKILL');
    }
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    assert.equal(child.signalCode, 'SIGKILL');

    using database = Database.open(join(directory, 'node.db'));
    const store = new DeploymentStore(database);
    const machine = new MachineStore(database);
    const exposed = new Set(machine.exposed().map(({ deployment, target }) => `${deployment} ${target}`));
    let time = 0;
    for (const line of acknowledged) {
      const [kind, first = '', second = '', third = ''] = line.split(' ');
      if (kind === 'version') {
        const version = store.version(first, Number(second));
        assert.ok(version !== undefined, line);
        assert.equal(headHash(version.signed.head), third);
      }
      if (kind === 'witnessed') assert.equal(store.witnessed(first, second)?.claim.node, third, line);
      if (kind === 'exposed') assert.ok(exposed.has(`${first} ${second}`), line);
      if (kind === 'time') time = Number(first);
    }
    assert.ok(machine.verifiedTime() >= time);
    // Whatever is there is whole.
    for (const deployment of store.load()) {
      assert.equal(deployment.contract.version, deployment.proof.newest.head.version);
    }
  }
});

test('the database is private, has one owner, and refuses a newer schema', async (t) => {
  const path = join(await temporary(t), 'node.db');
  {
    using database = Database.open(path);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.throws(() => Database.open(path), { code: 'STATE_LOCKED' });
    database.run('PRAGMA user_version=99');
  }
  assert.throws(() => Database.open(path), { code: 'STATE_TOO_NEW' });
  assert.throws(() => Database.open('/dev/null/node.db'), { code: 'STATE_UNUSABLE' });
});

test('starting writes nothing, so that a full disk does not keep what is stored from running', async (t) => {
  const path = join(await temporary(t), 'node.db');
  const chain = new Chain(createNodeKey());
  {
    using database = Database.open(path);
    const { proof, contract } = chain.next();
    new DeploymentStore(database).saveVersion(proof, contract, 1);
  }
  const before = await readFile(path);
  {
    using database = Database.open(path);
    assert.equal(new DeploymentStore(database).load().length, 1);
    assert.equal((await stat(`${path}-wal`)).size, 0);
    // Nothing written yet, and ours alone all the same.
    assert.throws(() => Database.open(path), { code: 'STATE_LOCKED' });
  }
  assert.ok(before.equals(await readFile(path)));
});

test('a damaged database has one code, is never read as less than it was, and stays as it is', async (t) => {
  const path = join(await temporary(t), 'node.db');
  const chain = new Chain(createNodeKey());
  {
    using database = Database.open(path);
    const store = new DeploymentStore(database);
    for (let i = 0; i < 20; i++) {
      const { proof, contract } = chain.next();
      store.saveVersion(proof, contract, i);
    }
  }
  const good = await readFile(path);
  let damaged = 0;
  for (let at = 0; at < good.length; at += 1024) {
    const bytes = Buffer.from(good).fill(0xff, at, at + 1024);
    await writeFile(path, bytes);
    try {
      using database = Database.open(path);
      const [deployment, ...others] = new DeploymentStore(database).load();
      assert.deepEqual([deployment?.contract.version, others], [19, []], `damaged at ${at}`);
    } catch (error) {
      if (!isMoatError(error)) throw error;
      assert.equal(error.code, 'STATE_UNUSABLE', `damaged at ${at}: ${error.message}`);
      damaged += 1;
    }
    assert.ok(bytes.equals(await readFile(path)), `damaged at ${at}`);
  }
  assert.ok(damaged > 0);
  await writeFile(path, good.subarray(0, good.length / 2));
  assert.throws(
    () => {
      using database = Database.open(path);
      new DeploymentStore(database).load();
    },
    { code: 'STATE_UNUSABLE' },
  );
});

test('a full disk is DISK_FULL, changes nothing, and passes', async (t) => {
  const path = join(await temporary(t), 'node.db');
  using database = Database.open(path);
  const store = new DeploymentStore(database);
  const chain = new Chain(createNodeKey());
  const first = chain.next();
  store.saveVersion(first.proof, first.contract, 1);
  const pages = Number(database.get('PRAGMA page_count')?.['page_count']);
  database.get(`PRAGMA max_page_count=${pages}`);
  const second = chain.next({ anchors: manyAnchors() });
  assert.throws(() => store.saveVersion(second.proof, second.contract, 2), { code: 'DISK_FULL', retryable: true });
  assert.equal(store.load()[0]?.contract.version, 0);
  database.get('PRAGMA max_page_count=1000000');
  store.saveVersion(second.proof, second.contract, 2);
  assert.equal(store.load()[0]?.contract.version, 1);
});

test('what may wait is written together, read as if it were there, and none takes another with it', async (t) => {
  const path = join(await temporary(t), 'node.db');
  const clock = createManualClock(0);
  const failed: unknown[] = [];
  const insert = (database: Database, key: string): void =>
    database.soon(
      () => database.run("INSERT INTO exposed (deployment, target, public) VALUES ('a', ?, 0)", key),
      (error) => failed.push(error),
    );
  const count = (database: Database): number => database.all('SELECT target FROM exposed').length;
  {
    using database = Database.open(path, clock);
    for (const key of ['one', 'two', 'one']) insert(database, key);
    assert.equal(count(database), 0);
    clock.advance(10_000);
    assert.equal(count(database), 2);
    assert.equal(failed.length, 1);
    insert(database, 'three');
    database.flush();
    assert.equal(count(database), 3);
    insert(database, 'four');
  }
  using database = Database.open(path, clock);
  assert.equal(count(database), 4, 'and when it closes');
});

test('a receipt that is deleted before it is written stays deleted', async (t) => {
  using database = Database.open(join(await temporary(t), 'node.db'), createManualClock(0));
  const store = new OwnerStore(database);
  const { peerId, signer } = createNodeKey();
  const deployment = 'a'.repeat(26);
  const said = {
    version: 0,
    head: 'A'.repeat(43),
    result: 'applied' as const,
    code: null,
    time: '2026-11-21T00:00:00Z',
  };
  store.saveReceipts([createReceipt({ deployment, ...said }, signer)], () => undefined);
  store.deleteReceipts(deployment, [peerId]);
  database.flush();
  assert.deepEqual(store.receipts(deployment), []);
});

test('a disk that fails is not taken for a full one', () => {
  const sqlite = (errcode: number): Error => Object.assign(new Error('disk I/O error'), { errcode });
  // https://sqlite.org/rescode.html: IOERR, IOERR_WRITE, IOERR_FSYNC, FULL, NOTADB
  for (const code of [10, 778, 1034]) assert.equal(translate(sqlite(code), 'write').code, 'DISK_FAILED');
  assert.equal(translate(sqlite(13), 'write').code, 'DISK_FULL');
  assert.equal(translate(Object.assign(new Error('no room'), { code: 'ENOSPC' }), 'open').code, 'DISK_FULL');
  assert.equal(translate(sqlite(26), 'open').code, 'STATE_UNUSABLE');
});

test('owners who sign without end fill no disk: the newest versions are kept', async (t) => {
  using database = Database.open(join(await temporary(t), 'node.db'));
  const store = new DeploymentStore(database);
  const chain = new Chain(createNodeKey());
  const kept = (): { count: number; bytes: number; newest: number } => {
    const row = database.get('SELECT count(*) AS n, sum(length(contract)) AS bytes, max(version) AS v FROM versions');
    return { count: Number(row?.['n']), bytes: Number(row?.['bytes']), newest: Number(row?.['v']) };
  };
  for (let i = 0; i < 120; i++) {
    const { proof, contract } = chain.next();
    store.saveVersion(proof, contract, i);
  }
  assert.deepEqual([kept().count, kept().newest], [100, 119]);
  assert.equal(store.version(chain.contract?.deployment ?? '', 19), undefined);
  assert.notEqual(store.version(chain.contract?.deployment ?? '', 20), undefined);
  const name = 'x'.repeat(60);
  const services = Array.from({ length: 512 }, (_, i) => ({
    name: `s-${i}`,
    on: Array.from({ length: 24 }, (_each, j) => `${name}-${j}`),
    port: i + 1,
    target: `127.0.0.1:${i + 1}`,
    protocol: 'tcp' as const,
  }));
  for (let i = 0; i < 60; i++) {
    const { proof, contract } = chain.next({ services });
    store.saveVersion(proof, contract, i);
  }
  assert.ok(kept().bytes <= 32 * 1024 * 1024, `${kept().bytes} bytes`);
  assert.ok(kept().count > 20 && kept().newest === 179);
  assert.equal(store.load()[0]?.contract.version, 179);
});

test('a keeper never remembers two claims on one invite, even after it forgot the deployment', async (t) => {
  using database = Database.open(join(await temporary(t), 'node.db'));
  const store = new DeploymentStore(database);
  const chain = new Chain(createNodeKey());
  const { proof, contract } = chain.next();
  store.saveVersion(proof, contract, 1);
  const { claim, invite } = chain.claim(chain.invite);
  store.saveWitnessed(invite, claim);
  assert.throws(() => store.saveWitnessed(invite, chain.claim(chain.invite).claim));
  store.forget(contract.deployment);
  assert.deepEqual(store.load(), []);
  assert.equal(store.witnessed(contract.deployment, invite)?.claim.node, claim.claim.node);
});

/** Enough bytes to need new pages. */
function manyAnchors(): string[] {
  const peer = createNodeKey().peerId;
  return Array.from(
    { length: 16 },
    (_, i) => `/dns4/${'a'.repeat(60)}.${'b'.repeat(60)}.example/tcp/${i + 1}/p2p/${peer}`,
  );
}
