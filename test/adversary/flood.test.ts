/** 5,000 silent sockets at each door in turn: the others stay open, and so does this one. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, suite, test } from 'node:test';
import { parse } from 'yaml';
import { eventually } from '../e2e/machine.ts';
import type { Place } from './pen.ts';
import { Shop, tell } from './shop.ts';
import { Flood } from './twins/flood.ts';
import { Twin } from './twins/twin.ts';

const SOCKETS = 5000;
/** What each process may grow by while the flood stands. */
const MEMORY_BYTES = 256 * 1024 * 1024;

const DOORS = [
  'libp2p of a keeper',
  'link port of a member',
  'proxy of an agent',
  'https of a gateway',
  'http of a gateway',
  'libp2p of a gateway',
  'link port of a gateway',
] as const;

suite('flood', { timeout: 240_000 }, () => {
  let shop: Shop;
  let doors: Record<(typeof DOORS)[number], number>;
  const places: Place[] = [];

  before(async () => {
    shop = await Shop.open({
      more: (opening) => {
        for (const i of DOORS.keys()) places.push(opening.pen.invited(`guest-${i}`, 20 + i, { tags: ['guest'] }));
        return {
          members: [...opening.members(), ...places.map(({ member }) => member)],
          access: [
            { from: ['app'], to: ['db'] },
            { from: ['tag:guest'], to: ['db'] },
          ],
        };
      },
    });
    const portOf = (address = ''): number => Number(/(\d+)(?:\/p2p\/.*)?$/.exec(address)?.[1]);
    const [hub, web, app] = await Promise.all(['hub', 'web', 'app'].map((name) => shop.client(name).status()));
    const config = parse(await readFile(shop.world.gateway.machine.path('gateway.yaml'), 'utf8')) as {
      listen: { https: string; http: string; link: string; overlay: string[] };
    };
    doors = {
      'libp2p of a keeper': portOf(hub?.addresses[0]),
      'link port of a member': web?.linkPort ?? 0,
      'proxy of an agent': app?.socks?.port ?? 0,
      'https of a gateway': portOf(config.listen.https),
      'http of a gateway': portOf(config.listen.http),
      'libp2p of a gateway': portOf(config.listen.overlay[0]),
      'link port of a gateway': portOf(config.listen.link),
    };
    await eventually('the gateway serves', () => shop.served());
    await eventually(
      'members meet',
      async () => (await tell(await shop.world.serviceAddress('app', 'db'), 'x')) === 'x',
    );
  });

  after(() => shop[Symbol.asyncDispose]());

  const residents = async (): Promise<number[]> =>
    Promise.all([...shop.world.agents.values(), shop.world.gateway.daemon].map((daemon) => daemon.residentBytes()));

  for (const [i, door] of DOORS.entries()) {
    test(`5,000 silent sockets at the ${door}`, async () => {
      const before = await residents();
      const begin = Date.now();
      using flood = await Flood.start({ port: doors[door], sockets: SOCKETS });
      assert.ok(flood.connected > SOCKETS / 20, `${flood.connected} sockets were connected`);
      // a request of the public, a stream between members over a link that stands
      await eventually('the public is served', () => shop.served(), 20_000);
      const db = await shop.world.serviceAddress('app', 'db');
      await eventually('members reach each other', async () => (await tell(db, 'through')) === 'through', 20_000);
      // a machine that joins now, meets a member and makes a link to it
      await using guest = await Twin.start();
      const token = shop.pen.token(shop.addresses['hub'] ?? [], places[i]);
      await eventually('a machine joins', async () => (await guest.join(token)).ok, 30_000);
      const outcome = await eventually(
        'it reaches its service',
        async () => {
          await guest.dial(shop.addresses['web'] ?? []);
          const link = await guest.link(shop.peer('web'));
          const code = await guest.ask(link, { deployment: shop.pen.deployment, service: 'db', kind: 'tcp' });
          return code === 'connected' && code;
        },
        30_000,
      );
      assert.equal(outcome, 'connected');
      const grown = (await residents()).map((bytes, at) => bytes - (before[at] ?? 0));
      assert.ok(Math.max(...grown) < MEMORY_BYTES, `memory grew by ${grown.join(', ')}`);
      if (process.env['MOAT_TEST_TIMES']) console.log(door, Date.now() - begin, 'ms', flood.connected, flood.open);
    });
  }

  test('afterwards all is as before', async () => {
    await eventually('the public is served', () => shop.served());
    for (const name of ['hub', 'web', 'app']) {
      assert.equal(await shop.versionAt(name), shop.contract.version);
      assert.ok(shop.world.agent(name).running);
    }
  });
});
