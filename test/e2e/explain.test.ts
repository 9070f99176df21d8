/** `moat explain` gives the true reason: allowed, denied and relayed situations, seen from both ends. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { freePort } from '@moat/testkit';
import { eventually } from './machine.ts';
import { World, type DeploymentSpec } from './world.ts';

interface Situation {
  readonly what: string;
  /** Machine on which it is asked. */
  readonly on: string;
  readonly from: string;
  readonly to: string;
  readonly allowed?: boolean;
  readonly works?: boolean | null;
  readonly code?: string | null;
  readonly path?: string | RegExp | null;
  /** In reason, path reason or what leads on. */
  readonly says: readonly RegExp[];
}

const ALLOWED = { allowed: true, works: true, code: null };
const BY_CONTRACT = { allowed: true, works: null, code: null };

const SITUATIONS: readonly Situation[] = [
  {
    what: 'a granted service that answers',
    on: 'web-1',
    from: 'web-1',
    to: 'db',
    ...ALLOWED,
    path: 'direct',
    says: [/^access\[0\] of version \d+: web-1 → /, /connected directly at 127\.0\.0\.1:\d+/],
  },
  {
    what: 'the same, named by what the machine offers',
    on: 'web-1',
    from: 'web',
    to: 'db',
    ...ALLOWED,
    path: 'direct',
    says: [/access\[0\]/],
  },
  {
    what: 'the same, asked on the machine that offers it',
    on: 'db-1',
    from: 'web-1',
    to: 'db',
    ...BY_CONTRACT,
    path: 'direct',
    says: [/access\[0\]/, /connected directly at/],
  },
  {
    what: 'the same, asked on a third machine',
    on: 'owner',
    from: 'web-1',
    to: 'db',
    ...BY_CONTRACT,
    path: null,
    says: [/access\[0\]/, /ask on one of them/],
  },
  {
    what: 'no line allows it',
    on: 'web-1',
    from: 'web-1',
    to: 'admin',
    allowed: false,
    works: null,
    code: 'GRANT_DENIED',
    says: [/no access line of version \d+ lets web-1 reach admin/],
  },
  {
    what: 'no line allows it, asked by the other side',
    on: 'db-1',
    from: 'web-1',
    to: 'admin',
    allowed: false,
    works: null,
    code: 'GRANT_DENIED',
    says: [/no access line/],
  },
  {
    what: 'not exposed, as the machine that asks sees it',
    on: 'web-1',
    from: 'web-1',
    to: 'ssh',
    allowed: false,
    works: false,
    code: 'NOT_EXPOSED',
    says: [/db-1 did not expose 127\.0\.0\.1:22/, /on db-1: moat node expose 127\.0\.0\.1:22 --to shop/],
  },
  {
    what: 'not exposed, as the machine that offers it sees it',
    on: 'db-1',
    from: 'web-1',
    to: 'ssh',
    allowed: false,
    works: false,
    code: 'NOT_EXPOSED',
    says: [/this machine did not expose/, /^moat node expose 127\.0\.0\.1:22 --to shop$/m],
  },
  {
    what: 'the service is down, as the machine that asks sees it',
    on: 'web-1',
    from: 'web-1',
    to: 'cache',
    allowed: true,
    works: false,
    code: 'SERVICE_UNREACHABLE',
    says: [/does not answer on db-1/, /start the service/],
  },
  {
    what: 'the service is down, as the machine that offers it sees it',
    on: 'db-1',
    from: 'web-1',
    to: 'cache',
    allowed: true,
    works: false,
    code: 'SERVICE_UNREACHABLE',
    says: [/nothing answers at 127\.0\.0\.1:\d+ on this machine/],
  },
  {
    what: 'the place that offers it is vacant',
    on: 'web-1',
    from: 'web-1',
    to: 'mail',
    allowed: true,
    works: false,
    code: 'PEER_VACANT',
    path: null,
    says: [/no machine holds the place of guest/, /moat invite guest/],
  },
  {
    what: 'the machine that asks is invited and has not joined',
    on: 'owner',
    from: 'new-1',
    to: 'db',
    allowed: true,
    works: false,
    code: 'PEER_VACANT',
    says: [/the machine invited as new-1 has not joined yet/],
  },
  {
    what: 'the machine that offers it is off',
    on: 'web-1',
    from: 'web-1',
    to: 'log',
    allowed: true,
    works: false,
    code: 'PEER_UNREACHABLE',
    path: null,
    says: [/log-1 cannot be reached from here/, /not connected: no direct way to log-1 \(127\.0\.0\.1:\d+ refused/],
  },
  {
    what: 'the grant has expired',
    on: 'web-1',
    from: 'web-1',
    to: 'old',
    allowed: false,
    works: null,
    code: 'GRANT_EXPIRED',
    says: [/expired at \d{4}-/],
  },
  {
    what: 'the membership has expired',
    on: 'owner',
    from: 'temp',
    to: 'db',
    allowed: false,
    works: null,
    code: 'MEMBER_EXPIRED',
    says: [/the membership of temp ended at/],
  },
  {
    what: 'a member that does not exist',
    on: 'web-1',
    from: 'wbe-1',
    to: 'db',
    code: 'MEMBER_UNKNOWN',
    says: [/no member, service or tag wbe-1/, /did you mean web-1\?/],
  },
  {
    what: 'a service that does not exist',
    on: 'web-1',
    from: 'web-1',
    to: 'cahce',
    code: 'SERVICE_UNKNOWN',
    says: [/no service cahce/, /did you mean cache\?/],
  },
  {
    what: 'a machine where a service is meant',
    on: 'web-1',
    from: 'web-1',
    to: 'db-1',
    code: 'SERVICE_UNKNOWN',
    says: [/db-1 is a machine; it offers db, /],
  },
  {
    what: 'two machines without an inbound port',
    on: 'home-1',
    from: 'home-1',
    to: 'far',
    ...ALLOWED,
    path: /^(spliced|relayed)$/,
    says: [/home-2 has no inbound port that is known here/, /anchor .*cannot read/],
  },
  {
    what: 'the same, asked on the other',
    on: 'home-2',
    from: 'home-1',
    to: 'far',
    ...BY_CONTRACT,
    path: /^(spliced|relayed)$/,
    says: [/home-1 has no inbound port/],
  },
  {
    what: 'a gateway and a service that is published and live',
    on: 'web-1',
    from: 'gateway:localhost',
    to: 'web',
    ...ALLOWED,
    path: 'direct',
    says: [/publish line shop of version \d+: localhost → web/],
  },
  {
    what: 'a public name whose service is not exposed to gateways',
    on: 'web-1',
    from: 'public',
    to: 'api',
    allowed: false,
    works: false,
    code: 'NOT_PUBLIC',
    says: [/did not expose 127\.0\.0\.1:\d+ to gateways/, /^moat node expose 127\.0\.0\.1:\d+ --to shop --public$/m],
  },
  {
    what: 'a gateway and a service that is not published',
    on: 'owner',
    from: 'gateway:localhost',
    to: 'db',
    allowed: false,
    works: false,
    code: 'NOT_PUBLISHED',
    says: [/no publish line of version \d+ gives out db at localhost/],
  },
  {
    what: 'a service that is published at another gateway',
    on: 'owner',
    from: 'gateway:other.example',
    to: 'web',
    allowed: false,
    works: false,
    code: 'NOT_PUBLISHED',
    says: [/it is published at localhost/],
  },
  {
    what: 'a public name that does not exist',
    on: 'owner',
    from: 'public',
    to: 'shpo',
    code: 'PUBLICATION_UNKNOWN',
    says: [/did you mean shop\?/],
  },
];

suite('explain', () => {
  const world = new World();
  let echo: Server;

  before(async () => {
    echo = createServer((socket) => socket.on('error', () => undefined).pipe(socket)).listen(0, '127.0.0.1');
    await once(echo, 'listening');
    const port = (echo.address() as AddressInfo).port;
    const closed = await freePort();
    const tcp = (on: string, at: number, servicePort: number): object => ({
      on: [on],
      port: servicePort,
      target: `127.0.0.1:${at}`,
    });
    const spec: DeploymentSpec = {
      name: 'shop',
      members: {
        owner: { keeper: true },
        'web-1': { expose: [`${port},public`] },
        'db-1': { expose: [String(port), String(closed)] },
        'log-1': {},
        'home-1': { inbound: false },
        'home-2': { inbound: false, expose: [String(port)] },
        guest: { joins: false },
        'new-1': { joins: false },
        temp: { joins: false, expires: '1s' },
      },
      services: {
        db: tcp('db-1', port, 5432),
        admin: tcp('db-1', port, 5433),
        ssh: tcp('db-1', 22, 22),
        cache: tcp('db-1', closed, 6379),
        mail: tcp('guest', port, 25),
        log: tcp('log-1', port, 514),
        old: tcp('db-1', port, 5434),
        far: tcp('home-2', port, 7000),
        web: { ...tcp('web-1', port, 80), protocol: 'http' },
        api: { ...tcp('web-1', closed, 81), protocol: 'http' },
      },
      access: [
        { from: ['web-1'], to: ['db', 'ssh', 'cache', 'mail', 'log'] },
        { from: ['web-1'], to: ['old'], expires: '1s' },
        { from: ['home-1'], to: ['far'] },
        { from: ['new-1', 'temp'], to: ['db'] },
      ],
      publish: { shop: 'web', api: 'api' },
    };
    await world.startGateway();
    await world.grow(spec);
    await world.invite('new-1');
    // Met once, so that its address is known.
    await eventually('log-1 is met', async () => world.client('web-1').ping('shop', { target: 'log-1' }));
    await world.agent('log-1').kill('SIGKILL');
    // Spliced first where the processor is busy; the direct path takes over.
    await eventually(
      'a direct link to the database',
      async () => {
        return (await world.client('web-1').ping('shop', { target: 'db' })).path === 'direct';
      },
      60_000,
    );
    await eventually('a link between the homes', async () => {
      return (await world.client('home-1').ping('shop', { target: 'far' })).path !== 'direct';
    });
    await eventually('version everywhere', async () => {
      const owner = await world.client('owner').deployment('shop');
      const versions = await Promise.all(
        ['web-1', 'db-1', 'home-1', 'home-2'].map(
          async (name) => (await world.client(name).deployment('shop')).version,
        ),
      );
      return versions.every((version) => version === owner.version);
    });
    await eventually('the public name is live', async () => {
      const publications = await world.client('web-1').publications();
      return publications.every(({ state }) => state === 'live');
    });
  });

  after(async () => {
    await world[Symbol.asyncDispose]();
    echo.close();
  });

  test('there are at least twenty situations', () => assert.ok(SITUATIONS.length >= 20));

  for (const { what, on, from, to, path, says, ...expected } of SITUATIONS) {
    test(what, async () => {
      const { stdout, stderr, json } = await world.machine(on).run(['explain', from, to]);
      const said = stdout + stderr;
      for (const [field, value] of Object.entries(expected)) assert.equal(json[field], value, `${field}: ${said}`);
      if (path instanceof RegExp) assert.match(String(json['path']), path, said);
      else if (path !== undefined) assert.equal(json['path'], path, said);
      const lines = [json['reason'], json['pathReason'], json['message'], json['cause'], ...(json['next'] as string[])];
      for (const pattern of says) assert.match(lines.join('\n'), pattern, said);
    });
  }
});
