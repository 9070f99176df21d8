import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MoatError, silentLogger, type Remap } from '@moat/core';
import type { ContractView } from '@moat/contract';
import { createManualClock } from '@moat/testkit';
import {
  createMemoryAir,
  createMemoryTunnels,
  createWireguardKey,
  type Air,
  type MemoryTunnels,
} from '@moat/wireguard';
import { ExposedTable } from '../../src/index.ts';
import { createPlane, type Plane, type PlanePaths } from '../../src/plane/plane.ts';
import { isCutEnough, tunnelNameOf } from '../../src/plane/layout.ts';
import type { PlaneLayout } from '../../src/plane/plane-layout.ts';

const OWN = createWireguardKey();
const NAME = 'moattest';

/** A contract of which the plane sees nothing but what the test's own layout makes of it. */
interface Said {
  readonly peers: readonly string[];
  readonly off?: boolean;
  /** @defaultValue `open` */
  readonly rules?: string;
}

const KEYS = new Map(['db', 'web', 'cache'].map((name) => [name, createWireguardKey()]));

function publicOf(member: string): string {
  return KEYS.get(member)?.publicKey ?? '';
}

function viewOf(said: Said): ContractView {
  const access = said.peers.map((peer) => ({ from: [peer], to: ['self'] }));
  return {
    contract: { access, name: said.rules ?? 'open', state: said.off === true ? 'ended' : 'active' },
    places: new Map([['self', { wireguard: OWN.publicKey }]]),
  } as unknown as ContractView;
}

function layoutOf({ contract }: ContractView): PlaneLayout | null {
  if (contract.state === 'ended') return null;
  const members = contract.access.map(({ from }) => from[0] ?? '');
  const addressOf = (member: string): string => `10.77.0.${[...KEYS.keys()].indexOf(member) + 10}`;
  return {
    name: NAME,
    addresses: ['10.77.0.2/32'],
    routes: ['10.77.0.0/16'],
    peers: members.map((member) => ({
      member,
      peer: `peer-${member}`,
      publicKey: publicOf(member),
      allowedIps: [`${addressOf(member)}/32`],
    })),
    services: members.map((member) => ({
      service: member,
      protocol: 'tcp',
      port: 80,
      instances: [
        { member, address: addressOf(member) },
        { member: 'self', address: '10.77.0.2' },
      ],
    })),
    unserved: [],
    rules: { chains: members.length === 0 ? 'closed' : contract.name },
    forwarding: 'none',
    leavesBy: null,
  };
}

class Paths implements PlanePaths {
  readonly said: string[];
  failing = false;
  constructor(said: string[]) {
    this.said = said;
  }
  start(): Promise<void> {
    this.said.push('paths start');
    return Promise.resolve();
  }
  update(peers: readonly { readonly peer: string }[]): Promise<void> {
    this.said.push(`paths ${peers.map(({ peer }) => peer).join()}`);
    return this.failing ? Promise.reject(new MoatError('TUNNEL_FAILED', 'no way')) : Promise.resolve();
  }
  states(): readonly never[] {
    return [];
  }
  untilDirect(): Promise<never> {
    return Promise.reject(new Error('never'));
  }
  netcheck(): Promise<never> {
    return Promise.reject(new Error('never'));
  }
  stop(): Promise<void> {
    this.said.push('paths stop');
    return Promise.resolve();
  }
  giveBack(): Promise<void> {
    this.said.push('paths give back');
    return Promise.resolve();
  }
}

function setUp(
  options: { air?: Air; remap?: Remap; refusal?: () => string | undefined; key?: () => Promise<string> } = {},
): {
  readonly plane: Plane;
  readonly tunnels: MemoryTunnels;
  readonly said: string[];
  readonly paths: Paths;
  readonly clock: ReturnType<typeof createManualClock>;
} {
  const said: string[] = [];
  const paths = new Paths(said);
  const memory = createMemoryTunnels(options.air === undefined ? {} : { air: options.air });
  const tunnels: MemoryTunnels = Object.assign(Object.create(memory) as MemoryTunnels, {
    apply: async (spec: Parameters<MemoryTunnels['apply']>[0]) => {
      said.push(`apply ${spec.peers.length} ${spec.rules.chains}`);
      return memory.apply(spec);
    },
    cut: async (...args: Parameters<MemoryTunnels['cut']>) => {
      said.push(`cut ${args[1].length} ${args[2].chains}`);
      return memory.cut(...args);
    },
  });
  const clock = createManualClock();
  const plane = createPlane(
    {
      tunnels,
      layoutOf,
      paths: () => paths,
      privateKey: options.key ?? (() => Promise.resolve(OWN.privateKey)),
      clock,
      logger: silentLogger,
    },
    {
      self: 'self',
      exposed: new ExposedTable({ ownSockets: () => [] }),
      namespace: null,
      port: 51_820,
      remap: options.remap,
      refusal: options.refusal,
    },
  );
  return { plane, tunnels, said, paths, clock };
}

test('what a version takes away leaves the ways and the interface before anything is added', async () => {
  const { plane, tunnels, said } = setUp();
  await plane.update(viewOf({ peers: ['db', 'web'] }));
  assert.deepEqual(said.splice(0), ['apply 2 open', 'paths start', 'paths peer-db,peer-web']);
  assert.equal(plane.state.phase, 'up');
  await plane.update(viewOf({ peers: ['web', 'cache'] }));
  assert.deepEqual(said.splice(0), ['cut 1 open', 'paths peer-web', 'apply 2 open', 'paths peer-web,peer-cache']);
  assert.deepEqual(
    (await plane.peers()).map(({ member, now }) => [member, now?.publicKey === publicOf(member)]),
    [
      ['web', true],
      ['cache', true],
    ],
  );
  await plane.update(viewOf({ peers: [], off: true }));
  assert.deepEqual(said.splice(0), ['paths stop', 'paths give back']);
  assert.deepEqual(await tunnels.list(), []);
  assert.equal(plane.state.phase, 'off');
});

test('where peers only leave, the cut is all, and what it left is compared a while later', async () => {
  const { plane, tunnels, said, clock } = setUp();
  await plane.update(viewOf({ peers: ['db', 'web'] }));
  said.splice(0);
  const view = viewOf({ peers: ['web'] });
  await plane.update(view);
  assert.deepEqual(said.splice(0), ['cut 1 open', 'paths peer-web', 'paths peer-web']);
  assert.deepEqual(
    (await tunnels.peers(NAME)).map(({ publicKey }) => publicKey),
    [publicOf('web')],
  );
  clock.advance(5_000);
  await plane.settle(view);
  assert.deepEqual(said.splice(0), ['paths peer-web', 'apply 1 open', 'paths peer-web']);
  await plane.stop();
});

test('a cut is enough for fewer peers and other rules, and for nothing else', () => {
  const before = layoutOf(viewOf({ peers: ['db', 'web'] }));
  const fewer = layoutOf(viewOf({ peers: ['web'] }));
  assert.ok(before && fewer);
  const [peer] = fewer.peers;
  assert.ok(peer);
  assert.equal(isCutEnough(before, fewer), true);
  assert.equal(isCutEnough(before, { ...fewer, rules: { chains: 'other' } }), true);
  for (const change of [
    { name: 'another' },
    { addresses: ['10.77.0.3/32'] },
    { routes: ['10.77.0.0/16', '0.0.0.0/0'] },
    { forwarding: 'inside' as const },
    { peers: [{ ...peer, allowedIps: [...peer.allowedIps, '0.0.0.0/0'] }] },
    { peers: [{ ...peer, publicKey: publicOf('cache') }] },
  ]) {
    assert.equal(isCutEnough(before, { ...fewer, ...change }), false, Object.keys(change).join());
  }
});

test('after a turn that failed, and where nobody left, a cut is not all', async () => {
  const { plane, tunnels, said } = setUp();
  await plane.update(viewOf({ peers: ['db', 'web', 'cache'] }));
  tunnels.failWith('TUNNEL_FAILED');
  await plane.update(viewOf({ peers: ['db', 'web', 'other'] }));
  assert.equal(plane.state.phase, 'failed');
  tunnels.failWith(null);
  said.splice(0);
  await plane.update(viewOf({ peers: ['db'] }));
  assert.ok(said.includes('apply 1 open'), said.join());
  said.splice(0);
  await plane.update(viewOf({ peers: ['db'], rules: 'wider' }));
  assert.deepEqual(said, ['cut 0 wider', 'paths peer-db', 'apply 1 wider', 'paths peer-db']);
  await plane.stop();
});

test('what cannot be cut off ahead goes with the rest', async () => {
  const { plane, tunnels } = setUp();
  await plane.update(viewOf({ peers: ['db', 'web'] }));
  tunnels.cut = () => Promise.reject(new MoatError('TUNNEL_FAILED', 'wg is busy'));
  await plane.update(viewOf({ peers: ['web'] }));
  assert.equal(plane.state.phase, 'up');
  assert.deepEqual(
    (await tunnels.peers(NAME)).map(({ publicKey }) => publicKey),
    [publicOf('web')],
  );
});

test('a contract in force costs nothing more, unless it was not to be had', async () => {
  const { plane, tunnels, said } = setUp();
  const view = viewOf({ peers: ['db'] });
  await Promise.all([plane.update(view), plane.settle(view)]);
  await plane.settle(view);
  assert.deepEqual(said.splice(0), ['apply 1 open', 'paths start', 'paths peer-db']);
  tunnels.failWith('TUNNEL_FAILED');
  const next = viewOf({ peers: ['web'] });
  await plane.settle(next);
  assert.equal(plane.state.phase, 'failed');
  tunnels.failWith(null);
  await plane.settle(next);
  assert.equal(plane.state.phase, 'up');
  await plane.stop();
});

test('a burst of changes costs two turns, and the newest one is in force', async () => {
  const { plane, said } = setUp();
  const updates = ['db', 'web', 'cache', 'db', 'cache'].map((peer) => plane.update(viewOf({ peers: [peer] })));
  await Promise.all(updates);
  assert.ok(said.filter((line) => line.startsWith('apply')).length <= 2, said.join());
  assert.deepEqual(
    plane.state.layout?.peers.map(({ member }) => member),
    ['cache'],
  );
});

test('while nothing may pass, no peer is left and the rules are closed', async () => {
  let stale = false;
  const { plane, said } = setUp({ refusal: () => (stale ? 'STALE' : undefined) });
  await plane.update(viewOf({ peers: ['db'] }));
  said.splice(0);
  stale = true;
  await plane.review();
  assert.deepEqual(said.splice(0), ['cut 1 closed', 'paths ', 'paths ']);
  assert.equal(plane.state.phase, 'closed');
  assert.deepEqual(plane.addressesOf('db', { unmet: true }), []);
  stale = false;
  await plane.review();
  assert.equal(plane.state.phase, 'up');
});

test('a change that failed is tried again by itself, ever later', async () => {
  const { plane, tunnels, said, clock } = setUp();
  tunnels.failWith('TUNNEL_FAILED');
  await plane.update(viewOf({ peers: ['db'] }));
  assert.equal(plane.state.phase, 'failed');
  assert.equal(plane.state.error?.code, 'TUNNEL_FAILED');
  clock.advance(1000);
  await plane.review();
  assert.equal(plane.state.phase, 'failed');
  tunnels.failWith(null);
  said.splice(0);
  clock.advance(8000);
  await plane.review();
  assert.equal(plane.state.phase, 'up');
  await plane.stop();
  assert.equal(clock.pending, 0);
});

test('what stands is looked at now and then: another program may have changed it', async () => {
  const { plane, said, clock } = setUp();
  await plane.update(viewOf({ peers: ['db'] }));
  said.splice(0);
  clock.advance(300_000);
  await plane.review();
  assert.ok(said.includes('apply 1 open'));
  await plane.remove();
  assert.equal(clock.pending, 0);
});

test('a key that this machine does not hold keeps the interface from being made', async () => {
  const key = (): Promise<string> => Promise.reject(new MoatError('WIREGUARD_KEY_UNKNOWN', 'none'));
  const { plane, tunnels } = setUp({ key });
  await plane.update(viewOf({ peers: ['db'] }));
  assert.equal(plane.state.error?.code, 'WIREGUARD_KEY_UNKNOWN');
  assert.deepEqual(await tunnels.list(), []);
  await plane.stop();
});

test('a key that is lost while the interface stands takes it away: it would follow no version any more', async () => {
  let isLost = false;
  const lost = new MoatError('WIREGUARD_KEY_UNKNOWN', 'none');
  const key = (): Promise<string> => (isLost ? Promise.reject(lost) : Promise.resolve(OWN.privateKey));
  const { plane, tunnels, clock } = setUp({ key });
  await plane.update(viewOf({ peers: ['db'] }));
  isLost = true;
  const view = viewOf({ peers: [] });
  await plane.update(view);
  clock.advance(5_000);
  await plane.settle(view);
  assert.equal(plane.state.phase, 'failed');
  assert.deepEqual(await tunnels.list(), []);
  await plane.stop();
});

test('what an earlier agent left goes where the contract wants no interface any more', async () => {
  const { plane, tunnels } = setUp();
  const said = viewOf({ peers: [], off: true });
  const [deployment, peer] = ['abcdefghijklmnopqrstuvwxyz', 'peer-self'];
  const left = tunnelNameOf(deployment, peer);
  const spec = {
    namespace: null,
    port: 51_820,
    mtu: 1420,
    routes: [],
    rules: { chains: '' },
    addresses: [],
    peers: [],
  };
  await tunnels.apply({ ...spec, name: left, privateKey: OWN.privateKey });
  const places = new Map([['self', { peer, wireguard: OWN.publicKey }]]);
  await plane.update({ ...said, contract: { ...said.contract, deployment }, places } as unknown as ContractView);
  assert.deepEqual(await tunnels.list(), []);
  assert.equal(plane.state.phase, 'off');
});

test('an interface that vanished is made anew, and its peers get ways and keys as new ones', async () => {
  const { plane, tunnels, said, clock } = setUp();
  await plane.update(viewOf({ peers: ['db'] }));
  await tunnels.remove(NAME);
  said.splice(0);
  clock.advance(30_000);
  await plane.review();
  assert.deepEqual(said.slice(0, 5), ['paths peer-db', 'paths stop', 'apply 1 open', 'paths start', 'paths peer-db']);
  await plane.remove();
});

test('a way that cannot be ended keeps no peer that the contract took away', async () => {
  const { plane, tunnels, paths } = setUp();
  await plane.update(viewOf({ peers: ['db', 'web'] }));
  paths.failing = true;
  await plane.update(viewOf({ peers: ['web'] }));
  assert.equal(tunnels.spec(NAME)?.peers.length, 1);
  await plane.stop();
});

test('programs get addresses of members that were met, where the network stands on this machine', async () => {
  const { plane, tunnels } = setUp({ remap: { network: '10.77.0.0/16', as: '100.66.0.0/16' } });
  await plane.update(viewOf({ peers: ['db', 'web'] }));
  assert.deepEqual(plane.addressesOf('db'), []);
  assert.deepEqual(plane.addressesOf('db', { unmet: true }), ['100.66.0.10']);
  assert.deepEqual(plane.addressesOf('nothing', { unmet: true }), []);
  assert.deepEqual(tunnels.spec(NAME)?.remap, { network: '10.77.0.0/16', as: '100.66.0.0/16' });
});

test('a member whose handshake was seen is met; one that does not answer is left alone for a while', async () => {
  const air = createMemoryAir();
  const there = createMemoryTunnels({ host: '192.0.2.2', air });
  const { plane, tunnels, clock } = setUp({ air });
  await plane.update(viewOf({ peers: ['db', 'web'] }));
  const spec = { name: 'moatthere', namespace: null, port: 51_820, mtu: 1420, routes: [], rules: { chains: '' } };
  const peers = [{ publicKey: OWN.publicKey, allowedIps: ['10.77.0.2/32'] }];
  await there.apply({ ...spec, privateKey: KEYS.get('db')?.privateKey ?? '', addresses: ['10.77.0.10/32'], peers });
  await tunnels.setPeer(NAME, publicOf('db'), { endpoint: { host: '192.0.2.2', port: 51_820 } });
  await plane.meet(['db'], 0);
  await plane.peers();
  assert.deepEqual(plane.addressesOf('db'), ['10.77.0.10']);
  await plane.meet(['web'], 0);
  assert.deepEqual(plane.addressesOf('web'), []);
  assert.equal((await tunnels.peers(NAME)).find(({ publicKey }) => publicKey === publicOf('web'))?.keepaliveSeconds, 0);
  clock.advance(30_000);
  await plane.remove();
});

test('stopping leaves the interface, which the next one adopts without a change; removing takes it away', async () => {
  const { plane, tunnels } = setUp();
  await plane.update(viewOf({ peers: ['db'] }));
  await plane.stop();
  assert.deepEqual(await tunnels.list(), [NAME]);
  await plane.update(viewOf({ peers: [] }));
  assert.equal(tunnels.spec(NAME)?.peers.length, 1);
  await plane.remove();
  assert.deepEqual(await tunnels.list(), []);
});
