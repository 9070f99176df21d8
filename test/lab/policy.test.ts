/** The packet rules of one member against real packets: what is granted and exposed gets through, and nothing else. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { buildView, formatTime, ipv6Of, may } from '@moat/contract';
import { eventually } from '../e2e/machine.ts';
import { labSkip } from './namespaces.ts';
import { QUIET } from './packet-probe.ts';
import { DEPLOYMENT, contractOf, member, service } from './policy-contract.ts';
import { INTERNET, LAN_HOST, LAN_SELF, PolicyWorld } from './policy-world.ts';

/** The kernel's own clock ends what ends. */
const NOW = Math.floor(Date.now() / 1000) * 1000;
const [PAST, LATER] = [formatTime(NOW - 3_600_000), formatTime(NOW + 3_600_000)];
const skip = labSkip('ping');
const OWN = '10.77.0.2';
const DB = '10.77.0.3';
const WEB = '10.77.0.4';
describe('packet rules', { skip, concurrency: true }, () => {
  it('let through what is granted and exposed, end it when it is taken away, and nothing else', async () => {
    const contract = contractOf({
      members: [member('self', 2, { keeper: true }), member('db', 3), member('web', 4), member('stranger', 5)],
      services: [
        service('api', 'self', 80, '127.0.0.1:3000'),
        service('admin', 'self', 81, '127.0.0.1:3001'),
        service('hidden', 'self', 82, '127.0.0.1:3002'),
        service('six', 'self', 83, '[fd99::7]:3006'),
        service('dns', 'self', 53, '127.0.0.1:53', 'udp'),
        service('wild', 'self', 5201, '127.0.0.1:5201', 'udp'),
        service('printer', 'self', 631, `${LAN_HOST}:631`),
        service('store', 'db', 5432),
        service('secret', 'db', 5433),
      ],
      access: [
        { from: ['db'], to: ['api', 'dns', 'wild', 'hidden', 'printer', 'six'] },
        { from: ['web'], to: ['admin'], expires: LATER },
        { from: ['self'], to: ['store', 'api'] },
      ],
    });
    using world = await PolicyWorld.make(contract, 'self', NOW);
    const { self, peers, out } = world.probes;
    world.expose(
      '127.0.0.1:3000',
      '127.0.0.1:3001',
      '127.0.0.1:53',
      '127.0.0.1:5201',
      `${LAN_HOST}:631`,
      '[fd99::7]:3006',
    );
    const [own6, db6, web6] = ['self', 'db', 'web'].map((name) => ipv6Of(DEPLOYMENT, name)) as [string, string, string];
    world.addPeers([DB, WEB, '10.77.0.5', '10.77.9.9', '8.8.4.4', db6, web6]);
    assert.ok(world.run('self', 'ip', 'addr', 'add', 'fd99::7/128', 'dev', 'lo'));
    await Promise.all([
      self.serve('tcp', '127.0.0.1', 3000, 'api'),
      self.serve('tcp', '127.0.0.1', 3001, 'admin'),
      self.serve('tcp', '127.0.0.1', 3002, 'hidden'),
      self.serve('tcp', 'fd99::7', 3006, 'six'),
      self.serve('tcp', '0.0.0.0', 22, 'ssh'),
      self.serve('tcp', '::', 2222, 'ssh6'),
      self.serve('tcp', '127.0.0.5', 80, 'elsewhere'),
      self.serve('udp', '127.0.0.1', 53, 'dns'),
      self.serve('udp', '0.0.0.0', 5201, 'wild'),
      self.serve('udp', '0.0.0.0', 68, 'dhcp'),
      out.serve('tcp', '0.0.0.0', 631, 'printer'),
      out.serve('tcp', '0.0.0.0', 80, 'outside'),
      out.serve('udp', '0.0.0.0', 53, 'resolver'),
      peers.serve('tcp', '0.0.0.0', 5432, 'store'),
      peers.serve('tcp', '0.0.0.0', 5433, 'secret'),
    ]);
    world.apply(contract, NOW);

    // Where nothing stands behind a row, silence.
    const rows: readonly (readonly [string, 'tcp' | 'udp', string, string, number, string?])[] = [
      ['granted', 'tcp', DB, OWN, 80, 'api'],
      ['granted', 'tcp', WEB, OWN, 81, 'admin'],
      ['granted, a server at loopback', 'udp', DB, OWN, 53, 'dns'],
      ['granted, a server on all addresses', 'udp', DB, OWN, 5201, 'wild'],
      ['granted, on another host', 'tcp', DB, OWN, 631, 'printer'],
      ['granted, IPv6', 'tcp', db6, own6, 83, 'six'],
      ['another member', 'tcp', WEB, OWN, 80],
      ['another member', 'tcp', WEB, OWN, 631],
      ['another member, IPv6', 'tcp', web6, own6, 83],
      ['another member', 'udp', WEB, OWN, 53],
      ['another member', 'udp', WEB, OWN, 5201],
      ['a member without a grant', 'tcp', '10.77.0.5', OWN, 80],
      ['nobody', 'tcp', '10.77.9.9', OWN, 80],
      ['nobody, from the internet', 'tcp', '8.8.4.4', OWN, 80],
      ['not exposed', 'tcp', DB, OWN, 82],
      ['the target itself', 'tcp', DB, OWN, 3000],
      ['the target itself', 'tcp', DB, '127.0.0.1', 3000],
      ['the target itself, IPv6', 'tcp', db6, 'fd99::7', 3006],
      ['another loopback address', 'tcp', DB, '127.0.0.5', 80],
      ['what listens everywhere', 'tcp', DB, OWN, 22],
      ['what listens everywhere', 'tcp', DB, LAN_SELF, 22],
      ['what listens everywhere, IPv6', 'tcp', db6, own6, 2222],
      ['what listens everywhere', 'udp', DB, OWN, 68],
      ['the other transport', 'udp', DB, OWN, 80],
      ['the other transport', 'tcp', DB, OWN, 53],
      ['the LAN', 'tcp', DB, LAN_HOST, 80],
      ['the LAN', 'tcp', DB, LAN_HOST, 631],
      ['the LAN', 'udp', DB, LAN_HOST, 53],
      ['the internet', 'tcp', DB, INTERNET, 80],
    ];
    const heard = await Promise.all(
      rows.map(async ([what, kind, from, host, port, expected = 'silence']) => {
        const answer = await peers.ask({ kind, from, host, port, ...(expected === 'silence' ? QUIET : {}) });
        return answer === expected ? [] : [`${what}: ${kind} ${from} → ${host}:${port} ${answer}, not ${expected}`];
      }),
    );
    assert.deepEqual(heard.flat(), []);

    const outwards: readonly (readonly ['tcp' | 'udp', string, number, string])[] = [
      ['tcp', DB, 5432, 'store'],
      ['tcp', DB, 5433, 'EHOSTUNREACH'],
      ['tcp', WEB, 5432, 'EHOSTUNREACH'],
      ['udp', DB, 5432, 'EPERM'],
      ['tcp', OWN, 80, 'api'],
    ];
    for (const [kind, host, port, expected] of outwards) {
      assert.equal(await self.ask({ kind, host, port }), expected, `${kind} to ${host}:${port}`);
    }
    assert.match(
      await self.ask({ kind: 'tcp', from: LAN_SELF, host: DB, port: 5432, ...QUIET }),
      /EHOSTUNREACH|silence/,
      'own source only',
    );
    assert.match(
      await out.ask({ kind: 'tcp', host: OWN, port: 22, ...QUIET }),
      /EHOST|ENET|silence/,
      'our address, from the LAN',
    );

    for (const [from, host, passes] of [
      [DB, OWN, true],
      [WEB, OWN, true],
      ['10.77.0.5', OWN, false],
      [DB, LAN_SELF, false],
      [DB, LAN_HOST, false],
      [db6, own6, true],
      [db6, 'fd99::7', false],
    ] as const) {
      assert.equal(
        world.run('peers', 'ping', '-c1', passes ? '-W5' : '-W0.3', '-q', '-I', from, host),
        passes,
        `echo ${from} → ${host}`,
      );
    }
    const echo = ['-c1', '-q', '-I', DB];
    assert.ok(world.run('peers', 'ping', ...echo, '-W5', '-s', '4000', OWN), 'fragments are put together');
    assert.ok(!world.run('peers', 'ping', ...echo, '-W0.3', '-R', OWN), 'no options of IP');
    assert.ok(world.run('self', 'ping', '-c1', '-W5', '-q', DB), 'we ask them too');
    assert.ok(!world.run('self', 'ping', '-c1', '-W0.3', '-q', '10.77.0.5'), 'strangers not');

    // What runs ends with the grant; the peer stays, for what it still may.
    const held = await peers.hold({ from: DB, host: OWN, port: 80 });
    const kept = await peers.hold({ from: DB, host: OWN, port: 631 });
    assert.deepEqual(await Promise.all([peers.echo(held), peers.echo(kept)]), ['api', 'printer']);
    const [first, ...rest] = contract.access;
    assert.ok(first);
    world.apply({ ...contract, access: [{ ...first, to: ['printer'] }, ...rest] }, NOW);
    assert.deepEqual(await Promise.all([peers.echo(held, QUIET), peers.echo(kept)]), ['silence', 'printer']);
    assert.equal(await peers.ask({ kind: 'tcp', from: DB, host: OWN, port: 80, ...QUIET }), 'silence');
    // Likewise when the port leads elsewhere, when consent ends, and when time does.
    world.apply(contract, NOW);
    const again = await peers.hold({ from: DB, host: OWN, port: 80 });
    const others = contract.services.slice(1);
    world.apply({ ...contract, services: [service('api', 'self', 80, '127.0.0.1:3001'), ...others] }, NOW);
    assert.equal(await peers.ask({ kind: 'tcp', from: DB, host: OWN, port: 80 }), 'admin');
    assert.equal(await peers.echo(again, QUIET), 'silence', 'a stream to the old target');
    const admin = await peers.hold({ from: WEB, host: OWN, port: 81 });
    world.apply(contract, Date.parse(LATER));
    assert.equal(await peers.echo(admin, QUIET), 'silence', 'over');
    const soon = Math.floor(Date.now() / 1000) * 1000 + 5_000;
    world.apply({ ...contract, access: [{ ...first, expires: formatTime(soon) }] }, Date.now());
    const left = await peers.hold({ from: DB, host: OWN, port: 80 });
    await eventually(
      'the kernel ends it by itself',
      async () => (await peers.echo(left, { waitMs: 2_000 })) === 'silence',
    );
    assert.ok(Date.now() >= soon);
    world.conceal('127.0.0.1:3000');
    world.apply(contract, NOW);
    assert.equal(
      await peers.ask({ kind: 'tcp', from: DB, host: OWN, port: 80, ...QUIET }),
      'silence',
      'no longer exposed',
    );
  });

  it('agree with the contract, whatever it says', async () => {
    const names = ['self', 'a', 'b', 'c', 'd'];
    const members = names.map((name, i) =>
      member(name, i + 2, { tags: i % 2 === 0 ? ['even'] : ['odd'], ...(i === 0 ? { keeper: true } : {}) }),
    );
    const ports = [1, 2, 3, 4];
    using world = await PolicyWorld.make(contractOf({ members }), 'self', NOW);
    const { self, peers } = world.probes;
    world.addPeers(members.slice(1).map(({ ipv4 }) => ipv4));
    for (const port of ports) {
      await self.serve('tcp', '127.0.0.1', 3000 + port, `t${port}`);
      await self.serve('udp', '127.0.0.1', 3000 + port, `u${port}`);
    }
    let seed = Number(process.env['MOAT_SEED'] ?? 1);
    const chance = (): number => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
    const some = <T>(values: readonly T[]): T[] => {
      const chosen = values.filter(() => chance() < 0.4);
      return chosen.length > 0 ? chosen : values.slice(0, 1);
    };
    for (let round = 0; round < (process.env['MOAT_TEST'] === 'full' ? 40 : 6); round++) {
      const services = ports.flatMap((port) =>
        (['tcp', 'udp'] as const).map((protocol) => ({
          ...service(`${protocol}-${port}`, 'self', port, `127.0.0.1:${3000 + port}`, protocol),
          on: some(['self', 'tag:even', 'tag:odd', 'a']),
        })),
      );
      const access = [0, 1, 2].map(() => ({
        from: some(['a', 'b', 'tag:even', 'tag:odd']),
        to: some(services.map(({ name }) => name)),
        ...(chance() < 0.3 ? { expires: chance() < 0.5 ? PAST : LATER } : {}),
      }));
      const contract = contractOf({ members, services, access });
      for (const port of ports) {
        if (chance() < 0.7) world.expose(`127.0.0.1:${3000 + port}`);
        else world.conceal(`127.0.0.1:${3000 + port}`);
      }
      const view = buildView(contract, [], NOW);
      world.apply(contract, NOW);
      const wrong = members.slice(1).flatMap(({ name, ipv4 }) =>
        services.map(async ({ name: to, port, protocol, target }) => {
          const offered = view.servicesOf('self').some((each) => each.name === to);
          const allowed = offered && world.isExposed(target) && may(view, name, to, NOW).allowed;
          const answer = await peers.ask({
            kind: protocol as 'tcp' | 'udp',
            from: ipv4,
            host: OWN,
            port,
            ...(allowed ? {} : QUIET),
          });
          const expected = allowed ? `${protocol[0]}${port}` : 'silence';
          return answer === expected ? [] : [`${name} → ${to}: ${answer}, not ${expected}`];
        }),
      );
      assert.deepEqual((await Promise.all(wrong)).flat(), [], JSON.stringify({ round, services, access }));
    }
  });
});
