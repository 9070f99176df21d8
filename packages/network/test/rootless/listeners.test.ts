import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { suite, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { MoatError } from '@moat/core';
import { LocalPort } from '../../src/local-port.ts';
import { Listeners, listenerAddresses } from '../../src/rootless/listeners.ts';
import { DEPLOYMENT } from '../shop.ts';

const IDENTITY = { deployment: DEPLOYMENT, member: 'web-1' };
const refuse = { open: () => Promise.reject(new MoatError('SERVICE_UNREACHABLE', 'test')) };
/** A port of the range nobody else in these tests takes. */
/** Neither it nor the shifted one is a port that the system gives to others. */
const PORT = 9_432;

suite('listener addresses', () => {
  test('are stable', () => {
    const [first] = listenerAddresses(IDENTITY, 'db', 5432);
    assert.deepEqual(listenerAddresses(IDENTITY, 'db', 5432)[0], first);
    assert.deepEqual(first, { host: '127.214.94.202', port: 5432 });
  });

  test('property: never another loopback service, all different ports valid', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.integer({ min: 1, max: 65_535 }), (member, service, port) => {
        const addresses = listenerAddresses({ deployment: DEPLOYMENT, member }, service, port);
        for (const { host, port: candidate } of addresses.slice(0, -1)) {
          const [first, second, , last] = host.split('.').map(Number);
          assert.equal(first, 127);
          assert.ok(second !== undefined && second >= 1 && second <= 254);
          assert.ok(last !== undefined && last >= 1 && last <= 254);
          assert.ok(candidate >= 1 && candidate <= 65_535);
        }
        assert.equal(addresses[0]?.port, port);
      }),
    );
  });

  test('differ by service, member and deployment', () => {
    const hosts = [
      listenerAddresses(IDENTITY, 'db', 1)[0]?.host,
      listenerAddresses(IDENTITY, 'web', 1)[0]?.host,
      listenerAddresses({ ...IDENTITY, member: 'web-2' }, 'db', 1)[0]?.host,
      listenerAddresses({ ...IDENTITY, deployment: 'z'.repeat(26) }, 'db', 1)[0]?.host,
    ];
    assert.equal(new Set(hosts).size, 4);
  });
});

suite('listeners', { skip: process.platform !== 'linux' && 'one loopback address only' }, () => {
  test('take the next address when one is taken, and the shifted port when all are', async () => {
    const candidates = listenerAddresses(IDENTITY, 'db', PORT);
    const taken: LocalPort[] = [];
    const take = async (count: number): Promise<void> => {
      for (const address of candidates.slice(taken.length, count)) {
        const port = new LocalPort((socket) => socket.destroy());
        await port.listen(address);
        taken.push(port);
      }
    };
    const listeners = new Listeners(refuse, IDENTITY);
    try {
      for (const count of [1, 3, 8]) {
        await take(count);
        await listeners.add([{ service: 'db', port: PORT }]);
        assert.deepEqual(listeners.get('db'), candidates[count]);
        await listeners.close();
      }
      await take(candidates.length);
      await listeners.add([{ service: 'db', port: PORT }]);
      assert.deepEqual(listeners.get('db'), { code: 'LISTEN_FAILED' });
      assert.deepEqual(listeners.sockets(), []);
      await taken[0]?.close();
      await listeners.add([{ service: 'db', port: PORT }]);
      assert.deepEqual(listeners.get('db'), candidates[0]);
    } finally {
      await listeners.close();
      for (const port of taken) await port.close();
    }
  });

  test('follow what is wanted, leaving the others alone', async () => {
    const listeners = new Listeners(refuse, IDENTITY);
    await listeners.add([
      { service: 'a', port: PORT },
      { service: 'b', port: PORT },
    ]);
    assert.equal(listeners.sockets().length, 2);
    await listeners.remove([
      { service: 'b', port: PORT },
      { service: 'c', port: PORT },
    ]);
    assert.equal(listeners.get('a'), undefined);
    assert.ok(listeners.get('b'));
    await listeners.remove([{ service: 'b', port: PORT + 1 }]);
    assert.equal(listeners.get('b'), undefined);
    await listeners.close();
  });

  test('a port below 1024 is shifted where the system refuses it', (t) => {
    const script = `
      import { Listeners } from ${JSON.stringify(fileURLToPath(new URL('../../src/rootless/listeners.ts', import.meta.url)))};
      const listeners = new Listeners({ open: () => Promise.reject(new Error('test')) }, { deployment: 'd', member: 'm' });
      await listeners.add([{ service: 'web', port: 80 }]);
      console.log(JSON.stringify(listeners.get('web')));
      await listeners.close();`;
    const node = ['--conditions=@moat/source', '--input-type=module', '--eval', script];
    const drop = process.getuid?.() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : [];
    const [file, ...args] = [...drop, process.execPath, ...node];
    const { status, stdout, stderr, error } = spawnSync(file ?? '', args, { encoding: 'utf8', timeout: 20_000 });
    if (error) return t.skip('no setpriv to give up root with');
    if (/EACCES/.test(stderr)) return t.skip('an ordinary user cannot read this checkout');
    assert.equal(status, 0, stderr);
    const state = JSON.parse(stdout) as { host: string; port: number };
    if (state.port === 80) return t.skip('this system lets everybody take port 80');
    assert.deepEqual(state, listenerAddresses({ deployment: 'd', member: 'm' }, 'web', 80)[8]);
    assert.equal(state.port, 20_080);
  });
});
