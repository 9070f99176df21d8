/** Preshared keys on real WireGuard: where the contract requires them, packets go only between members that agreed on one. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { eventually } from '../e2e/machine.ts';
import { labSkip } from './internet.ts';
import { pictured } from './picture.ts';
import { TunnelWorld, DIRECT_MS } from './tunnel-world.ts';

suite('preshared keys over WireGuard', { skip: labSkip('wg', 'wireguard-go') }, () => {
  const world = new TunnelWorld();
  const { internet } = world;

  before(() => world.start({ members: { ana: { nat: 'eim' }, ben: { nat: 'eim' } }, postQuantum: 'require' }));
  after(() => world[Symbol.asyncDispose]());

  /** What the interface has for its one peer. */
  async function keyAt(name: string): Promise<string> {
    const { interface: device } = await world.status(name);
    const lines = internet
      .read(name, 'wg', 'show', device ?? '', 'preshared-keys')
      .trim()
      .split('\n');
    assert.equal(lines.length, 1);
    return lines[0]?.split('\t')[1] ?? '';
  }

  async function agreed(): Promise<string> {
    return eventually('both have one key', async () => {
      const [ana, ben] = [await keyAt('ana'), await keyAt('ben')];
      return ana === ben && ana.length === 44 ? ana : undefined;
    });
  }

  const ask = (): Promise<string> => world.ask('ana', 'ben', { waitMs: 3_000 });

  const direct = (): Promise<unknown> =>
    eventually(
      'a direct way',
      async () => (await ask()) === 'ben' && (await world.peer('ana', 'ben')).path === 'direct',
      DIRECT_MS,
    );

  test('are agreed on with the first packet, and packets go directly', (t) =>
    pictured(internet, 'preshared', async () => {
      assert.notEqual(await keyAt('ana'), await keyAt('ben'), 'nobody knows them');
      const since = performance.now();
      await direct();
      await agreed();
      t.diagnostic(`direct after ${(performance.now() - since).toFixed(0)} ms`);
    }));

  test('are new when an agent begins anew, and running packets notice nothing', () =>
    pictured(internet, 'preshared-restart', async () => {
      const before = await agreed();
      await world.place('ben').daemon.kill('SIGKILL');
      assert.equal(await ask(), 'ben', 'the session goes on');
      await world.restart('ben');
      await eventually('a new key', async () => (await agreed()) !== before, 30_000);
      assert.equal(await ask(), 'ben');
    }));

  test('a machine with another key is let in no more', () =>
    pictured(internet, 'preshared-other', async () => {
      await agreed();
      const { interface: device } = await world.status('ana');
      const { key } = await world.peer('ana', 'ben');
      await world.place('ana').daemon.kill('SIGKILL');
      internet.read(
        'ana',
        'sh',
        '-c',
        `wg genpsk > /run/psk.lab && wg set ${device} peer '${key}' preshared-key /run/psk.lab; rm /run/psk.lab`,
      );
      // Sessions outlive their keys; a new one takes a handshake, which fails.
      internet.read('ana', 'ip', 'link', 'set', device ?? '', 'down');
      internet.read('ana', 'ip', 'link', 'set', device ?? '', 'up');
      assert.equal(await ask(), 'silence');
    }));
});
