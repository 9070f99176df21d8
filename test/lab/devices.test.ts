/** A device with Debian's own `wg-quick` and an exported profile: it reaches what is granted to it, by real WireGuard. */
import { buildView, deviceProfileOf, wgQuickText, type Contract } from '@moat/contract';
import { planeOf } from '@moat/network';
import { createWireguardKey } from '@moat/wireguard';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { eventually } from '../e2e/machine.ts';
import { Internet, labSkip } from './internet.ts';
import { PacketProbe, QUIET } from './packet-probe.ts';
import { contractOf, member, service } from './policy-contract.ts';
import { TunnelsProcess } from './tunnels-process.ts';

const NOW = Date.parse('2026-11-21T12:00:00Z');
const PORT = 21_110;
const [HUB, DB, PHONE] = ['10.77.0.2', '10.77.0.3', '10.77.0.9'] as const;

test(
  'wg-quick with an exported profile reaches what is granted, and loses it',
  {
    skip: labSkip('wg', 'wg-quick', 'wireguard-go'),
  },
  async () => {
    const keys = { hub: createWireguardKey(), db: createWireguardKey(), phone: createWireguardKey() };
    const withKey = (name: keyof typeof keys): { wireguard: string } => ({ wireguard: keys[name].publicKey });
    const contract = contractOf({
      members: [
        member('hub', 2, { keeper: true, ...withKey('hub') }),
        member('db', 3, withKey('db')),
        member('phone', 9, { via: 'hub', ...withKey('phone') }),
      ],
      services: [
        service('home', 'hub', 80, '127.0.0.1:3000'),
        service('store', 'db', 5432),
        service('dns', 'db', 53, '127.0.0.1:53', 'udp'),
        service('secret', 'db', 5433),
      ],
      access: [{ from: ['phone'], to: ['home', 'store', 'dns'] }],
    });
    const directory = mkdtempSync(join(tmpdir(), 'moat-lab-'));
    using internet = new Internet();
    const hosts = { hub: internet.addHost('hub', { address: 21 }), db: internet.addHost('db', { address: 22 }) };
    internet.addHost('phone', { nat: 'edm' });
    const inPhone = (...command: readonly string[]): string =>
      execFileSync('ip', ['netns', 'exec', internet.namespace('phone'), ...command], {
        encoding: 'utf8',
        stdio: 'pipe',
      });
    using hub = await TunnelsProcess.start(internet.namespace('hub'), join(directory, 'hub'));
    using db = await TunnelsProcess.start(internet.namespace('db'), join(directory, 'db'));
    const running = { hub, db };
    const apply = async (name: 'hub' | 'db', of: Contract): Promise<string> => {
      const exposed = { isExposed: () => true, isOwnSocket: () => false };
      const layout = planeOf(buildView(of, [], NOW), name, { exposed, now: NOW });
      assert.ok(layout);
      const { addresses, routes, rules } = layout;
      await running[name].tunnels.apply({
        name: layout.name,
        namespace: null,
        privateKey: keys[name].privateKey,
        port: PORT,
        mtu: 1420,
        addresses,
        routes,
        peers: layout.peers.map(({ publicKey, allowedIps }) => ({ publicKey, allowedIps })),
        rules,
        forwards: layout.forwarding !== 'none',
      });
      return layout.name;
    };
    const tunnels = { hub: await apply('hub', contract), db: await apply('db', contract) };
    await hub.tunnels.setPeer(tunnels.hub, keys.db.publicKey, { endpoint: { host: hosts.db, port: PORT } });
    try {
      const [home, far, phone] = await Promise.all(
        ['hub', 'db', 'phone'].map((name) => PacketProbe.start(internet.namespace(name))),
      );
      assert.ok(home && far && phone);
      await Promise.all([
        home.serve('tcp', '127.0.0.1', 3000, 'home'),
        home.serve('tcp', '0.0.0.0', 22, 'ssh'),
        far.serve('tcp', '127.0.0.1', 5432, 'store'),
        far.serve('tcp', '127.0.0.1', 5433, 'secret'),
        far.serve('udp', '0.0.0.0', 53, 'dns'),
      ]);
      const profile = deviceProfileOf(buildView(contract, [], NOW), 'phone', NOW);
      assert.deepEqual(profile.allowedIps, [`${HUB}/32`, `${DB}/32`]);
      const file = join(directory, `mq${process.pid.toString(36)}.conf`);
      writeFileSync(file, wgQuickText(profile, keys.phone.privateKey, `${hosts.hub}:${PORT}`), { mode: 0o600 });
      inPhone('wg-quick', 'up', file);
      try {
        const ask = (kind: 'tcp' | 'udp', host: string, port: number): Promise<string> =>
          phone.ask({ kind, from: PHONE, host, port, waitMs: 1000 });
        await eventually('the device reaches its member', async () => (await ask('tcp', HUB, 80)) === 'home');
        await eventually('and another through it', async () => (await ask('tcp', DB, 5432)) === 'store');
        await eventually('with UDP too', async () => (await ask('udp', DB, 53)) === 'dns');
        const closed = [ask('tcp', DB, 5433), ask('tcp', HUB, 22), ask('tcp', HUB, 3000), ask('udp', DB, 5432)];
        assert.deepEqual(await Promise.all(closed), ['silence', 'silence', 'silence', 'silence']);

        const held = await phone.hold({ from: PHONE, host: DB, port: 5432 });
        assert.equal(await phone.echo(held), 'store');
        const revoked = { ...contract, members: contract.members.slice(0, 2), access: [] };
        await Promise.all([apply('hub', revoked), apply('db', revoked)]);
        assert.equal(await phone.echo(held, QUIET), 'silence');
        assert.equal(await ask('tcp', HUB, 80), 'silence');
      } finally {
        inPhone('wg-quick', 'down', file);
      }
    } finally {
      await Promise.all([hub.tunnels.remove(tunnels.hub), db.tunnels.remove(tunnels.db)]);
      rmSync(directory, { recursive: true });
    }
  },
);
