/** A gateway's state in one file, taken while it works, put in place elsewhere. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createGatewayClient, type GatewayClient } from '@moat/admin-api';
import { isSealedBackup, packBackup, unpackBackup } from '../../src/backup/archive.ts';
import { restoreBackup } from '../../src/backup/restore.ts';
import { takeSnapshot } from '../../src/backup/snapshot.ts';
import { openSqliteStore } from '../../src/store/sqlite.ts';
import { answering } from '../member.ts';
import { NOW, Shop } from '../shop.ts';
import { Node, gatewayPeer, get, home, started } from '../whole-gateway.ts';

const FACTS = { created: '2026-11-21T00:00:00Z', domain: 'localhost', peer: 'p', version: '0' };

function temporary(): Disposable & { readonly path: string } {
  const path = mkdtempSync(join(tmpdir(), 'moat-backup-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

async function take(client: GatewayClient, target: string, passphrase: string | null): Promise<void> {
  const { directory, files, ...facts } = await client.backup();
  const created = '2026-11-21T00:00:00Z';
  await packBackup(directory, files, { ...facts, created }, { target, passphrase });
  rmSync(directory, { recursive: true });
}

test('a backup under load holds every name and line acknowledged before it, and is the same gateway elsewhere', async () => {
  using place = temporary();
  const archive = join(place.path, 'gateway.backup');
  await using node = new Node(answering('hello'));
  await node.start();
  await using one = await home();
  const shop = new Shop('one', { web1: node.identity, gateway: await gatewayPeer(one.config) });
  let peers: readonly string[] = [];
  {
    await using gateway = await started(one.config);
    const { addresses } = gateway;
    ({ peers } = addresses);
    const client = createGatewayClient({ socketPath: addresses.adminSocket });
    assert.equal((await node.show(addresses, shop.bundle(shop.first))).ok, true);
    const over = new AbortController();
    const five = Promise.withResolvers<void>();
    const load = (async () => {
      for (let asked = 0; !over.signal.aborted; asked += 1) {
        await client.suspend({ subject: `n${asked}`, status: 451 });
        assert.equal((await get(addresses, 'shop.localhost')).status, 200);
        if (asked === 4) five.resolve();
      }
    })();
    await five.promise;
    await take(client, archive, 'open sesame');
    over.abort();
    await load;
    assert.equal(statSync(archive).mode & 0o777, 0o600);
    const sealed = readFileSync(archive, 'latin1');
    assert.ok(!sealed.includes('name.suspended') && !sealed.includes('SQLite'), 'nothing of it can be read');
    const running = { archive, passphrase: 'open sesame', replace: true, nowMs: NOW };
    await assert.rejects(restoreBackup(one.config, running), { code: 'STATE_LOCKED' });
  }
  assert.equal(await isSealedBackup(archive), true);
  await using two = await home();
  const options = { archive, passphrase: 'open sesame', replace: false, nowMs: NOW };
  await assert.rejects(restoreBackup(two.config, { ...options, passphrase: null }), { code: 'KEY_LOCKED' });
  await assert.rejects(restoreBackup(two.config, { ...options, passphrase: 'x' }), { code: 'PASSPHRASE_WRONG' });
  await assert.rejects(restoreBackup({ ...two.config, domain: 'elsewhere' }, options), { code: 'BACKUP_INVALID' });
  const restored = await restoreBackup(two.config, options);
  assert.deepEqual([restored.names, restored.aside], [1, null]);
  await assert.rejects(restoreBackup(two.config, options), { code: 'STATE_EXISTS' });
  await using gateway = await started(two.config);
  const idOf = (addresses: readonly string[]): (string | undefined)[] =>
    addresses.map((each) => each.split('/p2p/')[1]);
  assert.deepEqual(idOf(gateway.addresses.peers), idOf(peers));
  const client = createGatewayClient({ socketPath: gateway.addresses.adminSocket });
  const { suspensions } = await client.publishers();
  assert.ok(suspensions.length >= 5);
  assert.deepEqual((await client.checkAudit()).problems, []);
  const { lines } = await client.audit({ after: 0, sinceMs: 0 });
  assert.deepEqual(
    lines.slice(-3).map(({ action }) => action),
    ['backup.made', 'gateway.restored', 'gateway.started'],
  );
  assert.equal((await node.show(gateway.addresses, shop.bundle(shop.first))).ok, true);
  assert.deepEqual(await get(gateway.addresses, 'shop.localhost'), { status: 200, text: 'hello' });
});

test('what was there is put aside, a database outside of the state with it', async () => {
  using place = temporary();
  const archive = join(place.path, 'gateway.backup');
  await using one = await home(`store: sqlite:${join(place.path, 'data', 'names.db')}\n`);
  {
    await using gateway = await started(one.config);
    await take(createGatewayClient({ socketPath: gateway.addresses.adminSocket }), archive, null);
  }
  assert.equal(await isSealedBackup(archive), false);
  const options = { archive, passphrase: null, replace: true, nowMs: NOW };
  const { aside } = await restoreBackup(one.config, options);
  assert.ok(statSync(join(aside ?? '', 'gateway.key')).isFile());
  assert.ok(statSync(join(aside ?? '', 'gateway.db')).isFile());
  await using gateway = await started(one.config);
  const client = createGatewayClient({ socketPath: gateway.addresses.adminSocket });
  assert.deepEqual((await client.checkAudit()).problems, []);
});

test('a backup that was changed anywhere, or cut, is refused before anything of it is used', async () => {
  using place = temporary();
  const state = join(place.path, 'state');
  const store = openSqliteStore(join(state, 'gateway.db'));
  writeFileSync(join(state, 'some.key'), 'secret');
  const { directory, files } = await takeSnapshot(
    { stateDirectory: state, storePath: join(state, 'gateway.db') },
    store,
  );
  store.close();
  assert.deepEqual(files, ['gateway.db', 'some.key']);
  for (const passphrase of ['a', null]) {
    const target = join(place.path, `of-${passphrase}`);
    await packBackup(directory, files, FACTS, { target, passphrase });
    const whole = readFileSync(target);
    const into = (): string => join(place.path, `into-${Math.random()}`);
    const unpacked = await unpackBackup(target, into(), passphrase);
    assert.deepEqual(unpacked.files, files);
    // Each guess at a passphrase costs half a second, so few are made.
    const middle = Math.floor(whole.length / 2);
    const places = passphrase === null ? [0, 1, 10, 300, 400, middle, whole.length - 1] : [60, middle];
    for (const at of places) {
      const changed = Buffer.from(whole);
      changed[at] = (changed[at] ?? 0) ^ 1;
      writeFileSync(target, changed);
      // What is in the clear has facts for people in front, which nothing is decided by but the domain.
      const isFact = passphrase === null && at > 30 && at < whole.indexOf(10);
      if (!isFact) await assert.rejects(unpackBackup(target, into(), passphrase), `${passphrase} ${at}`);
    }
    for (const length of passphrase === null ? [0, 20, whole.indexOf(10) + 1, whole.length - 1] : [whole.length - 1]) {
      writeFileSync(target, whole.subarray(0, length));
      await assert.rejects(unpackBackup(target, into(), passphrase), `${passphrase} cut at ${length}`);
    }
    writeFileSync(target, Buffer.concat([whole, Buffer.from('x')]));
    await assert.rejects(unpackBackup(target, into(), passphrase));
  }
});

test('a backup never writes beside its own place', async () => {
  using place = temporary();
  const target = join(place.path, 'evil');
  const header = JSON.stringify({ type: 'moat/gateway-backup/1', ...FACTS });
  for (const name of ['../evil', '/etc/x', 'a/b', '..', '.hidden', '']) {
    writeFileSync(target, `${header}\n${JSON.stringify([{ name, bytes: 0, hash: '' }])}\n`);
    await assert.rejects(unpackBackup(target, join(place.path, 'into', String(name.length)), null));
  }
});
