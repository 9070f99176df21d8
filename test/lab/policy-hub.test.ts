/** The packet rules of a member that others are behind: devices, and those who leave to the internet by it. */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { labSkip } from './namespaces.ts';
import { QUIET } from './packet-probe.ts';
import { contractOf, member, service } from './policy-contract.ts';
import { INTERNET, LAN_HOST, LAN_SELF, PolicyWorld } from './policy-world.ts';

const NOW = Date.parse('2026-11-21T12:00:00Z');
const [OWN, DB, WEB, PHONE, TABLET] = ['10.77.0.2', '10.77.0.3', '10.77.0.4', '10.77.0.9', '10.77.0.10'] as const;

it(
  'devices reach what is granted through their member, and leave to the internet alone',
  { skip: labSkip('ping') },
  async () => {
    const contract = contractOf({
      members: [
        member('hub', 2, { keeper: true }),
        member('db', 3),
        member('web', 4),
        member('phone', 9, { via: 'hub' }),
        member('tablet', 10, { via: 'hub' }),
      ],
      services: [
        service('home', 'hub', 80, '127.0.0.1:3000'),
        service('store', 'db', 5432),
        service('dns', 'db', 53, '127.0.0.1:53', 'udp'),
        service('secret', 'db', 5433),
        service('page', 'web', 80),
      ],
      access: [
        { from: ['phone'], to: ['home', 'store', 'dns'] },
        { from: ['tablet'], to: ['page'] },
      ],
      egress: [{ from: ['phone', 'db'], via: 'hub' }],
    });
    using world = await PolicyWorld.make(contract, 'hub', NOW);
    const { self, peers, devices, out } = world.probes;
    world.expose('127.0.0.1:3000');
    world.addPeers([DB, WEB]);
    world.addDevices([PHONE, TABLET]);
    assert.equal(world.layout?.forwarding, 'outside');
    await Promise.all([
      self.serve('tcp', '127.0.0.1', 3000, 'home'),
      self.serve('tcp', '0.0.0.0', 22, 'ssh'),
      out.serve('tcp', '0.0.0.0', 80, 'outside'),
      out.serve('udp', INTERNET, 53, 'resolver'),
      ...[5432, 5433, 80].map((port) => peers.serve('tcp', '0.0.0.0', port, `member-${port}`)),
      peers.serve('udp', DB, 53, 'dns'),
    ]);
    world.apply(contract, NOW);
    const rows: readonly (readonly ['tcp' | 'udp', string, string, number, string?])[] = [
      ['tcp', PHONE, OWN, 80, 'home'],
      ['tcp', PHONE, DB, 5432, 'member-5432'],
      ['udp', PHONE, DB, 53, 'dns'],
      ['tcp', TABLET, WEB, 80, 'member-80'],
      ['tcp', PHONE, INTERNET, 80, 'outside'],
      ['udp', PHONE, INTERNET, 53, 'resolver'],
      ['tcp', DB, INTERNET, 80, 'outside'],
      ['tcp', PHONE, DB, 5433],
      ['tcp', PHONE, WEB, 80],
      ['tcp', TABLET, OWN, 80],
      ['tcp', TABLET, DB, 5432],
      ['tcp', TABLET, DB, 80],
      ['tcp', PHONE, OWN, 22],
      ['tcp', PHONE, OWN, 3000],
      ['tcp', PHONE, LAN_HOST, 80],
      ['udp', PHONE, LAN_HOST, 53],
      ['tcp', PHONE, LAN_SELF, 22],
      ['tcp', TABLET, INTERNET, 80],
      ['tcp', WEB, INTERNET, 80],
      ['tcp', DB, LAN_HOST, 80],
      ['tcp', DB, OWN, 80],
      // Nobody speaks to a device unasked.
      ['tcp', DB, PHONE, 80],
    ];
    const heard = await Promise.all(
      rows.map(async ([kind, from, host, port, expected = 'silence']) => {
        const probe = from === PHONE || from === TABLET ? devices : peers;
        const answer = await probe.ask({ kind, from, host, port, ...(expected === 'silence' ? QUIET : {}) });
        return answer === expected ? [] : [`${kind} ${from} → ${host}:${port} ${answer}, not ${expected}`];
      }),
    );
    assert.deepEqual(heard.flat(), []);
    assert.match(
      await out.ask({ kind: 'tcp', host: PHONE, port: 80, ...QUIET }),
      /silence|E/,
      'the LAN reaches no device',
    );
    for (const [from, to, passes] of [
      [PHONE, DB, true],
      [PHONE, OWN, true],
      [PHONE, INTERNET, true],
      [PHONE, WEB, false],
      [TABLET, DB, false],
      [TABLET, INTERNET, false],
      [PHONE, LAN_HOST, false],
    ] as const) {
      const wait = passes ? '-W5' : '-W0.3';
      assert.equal(world.run('devices', 'ping', '-c1', wait, '-q', '-I', from, to), passes, `echo ${from} → ${to}`);
    }

    const streams = [
      await devices.hold({ from: PHONE, host: DB, port: 5432 }),
      await devices.hold({ from: PHONE, host: INTERNET, port: 80 }),
    ];
    assert.deepEqual(await Promise.all(streams.map((held) => devices.echo(held))), ['member-5432', 'outside']);
    // With public addresses too the machine's own LAN is not the internet.
    world.nearby = ['9.9.9.1/24'];
    world.apply(contract, NOW);
    assert.deepEqual(await Promise.all(streams.map((held, i) => devices.echo(held, i === 0 ? undefined : QUIET))), [
      'member-5432',
      'silence',
    ]);
    const { egress: _, ...closed } = contract;
    world.apply({ ...closed, access: [{ from: ['phone'], to: ['home', 'dns'] }] }, NOW);
    assert.deepEqual(await Promise.all(streams.map((held) => devices.echo(held, QUIET))), ['silence', 'silence']);
    assert.equal(await devices.ask({ kind: 'udp', from: PHONE, host: DB, port: 53 }), 'dns');
  },
);
