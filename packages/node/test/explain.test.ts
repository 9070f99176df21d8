/** Reasons that real processes take long to come to; the others are in test/e2e/explain.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MoatError, peerIdFromPublicKey, type LinkPath, type PeerId } from '@moat/core';
import { buildView, type Contract, type ContractView, type Place } from '@moat/contract';
import type { Reach } from '@moat/overlay';
import type { Deployment } from '../src/deployments/deployment.ts';
import { explain } from '../src/explain/explain.ts';
import type { ExplainDeps } from '../src/explain/finding.ts';

const NOW = Date.parse('2026-11-21T12:00:00Z');
const [WEB, DB, ANCHOR] = [1, 2, 3].map((seed) => peerIdFromPublicKey(new Uint8Array(32).fill(seed))) as [
  PeerId,
  PeerId,
  PeerId,
];
const CONTRACT: Contract = {
  type: 'moat/contract/1',
  deployment: 'abcdefghijklmnopqrstuvwx23',
  name: 'shop',
  version: 7,
  owners: { threshold: 1, keys: [] },
  anchors: [`/dns4/gw.example.com/tcp/4410/p2p/${ANCHOR}`],
  network: { ipv4: '10.77.0.0/16', plane: 'rootless' },
  members: [
    { name: 'web-1', node: WEB, ipv4: '10.77.0.2', tags: [], keeper: true },
    { name: 'db-1', node: DB, ipv4: '10.77.0.3', tags: [] },
  ],
  services: [{ name: 'db', on: ['db-1'], port: 5432, target: '127.0.0.1:1', protocol: 'tcp' }],
  access: [{ from: ['web-1'], to: ['db'] }],
  publish: [],
  state: 'active',
};

interface Circumstances {
  readonly contract?: Partial<Contract>;
  /** Replaces the place of a member. */
  readonly place?: Partial<Place> & { readonly name: string };
  readonly forked?: boolean;
  readonly staleMs?: number;
  readonly self?: PeerId;
  /** Who would reach the service. */
  readonly as?: string;
  readonly reach?: Partial<Reach>;
  readonly link?: LinkPath;
  /** WireGuard packets find a way to every peer. */
  readonly isMet?: boolean;
  readonly reservations?: readonly PeerId[];
  /** What opening a stream ends with. */
  readonly refusal?: MoatError;
}

function world(given: Circumstances): { deps: ExplainDeps; deployment: Deployment } {
  const contract = { ...CONTRACT, ...given.contract };
  const built = buildView(contract, [], NOW);
  const places = new Map(built.places);
  const replaced = given.place;
  if (replaced !== undefined) places.set(replaced.name, { ...(places.get(replaced.name) as Place), ...replaced });
  const view: ContractView = {
    ...built,
    places,
    membersOn: (service) =>
      built.membersOn(service).flatMap(({ name }) => {
        const place = places.get(name);
        return place === undefined || place.peer === null ? [] : [place];
      }),
  };
  const self = given.self ?? WEB;
  const stale = given.staleMs;
  const deployment = {
    id: contract.deployment,
    contract,
    view,
    forked: given.forked ?? false,
    place: [...places.values()].find(({ peer }) => peer === self),
    staleness: () => (stale === undefined ? 'fresh' : 'stale'),
    ageMs: () => stale ?? 0,
  } as unknown as Deployment;
  const reach: Reach = { path: null, address: null, anchor: null, known: 0, failures: [], ...given.reach };
  const deps = {
    self,
    overlay: { connections: () => [], reach: () => reach, reservations: () => given.reservations ?? [] },
    plane: () => (given.isMet === true ? { path: 'direct', over: null, forwarder: null, reason: null } : undefined),
    links: { get: () => (given.link === undefined ? undefined : { path: given.link }) },
    open: () =>
      given.refusal === undefined
        ? Promise.resolve({ listen: () => undefined, reset: () => undefined })
        : Promise.reject(given.refusal),
    clock: { now: () => NOW },
    exposed: { isExposed: () => true, isOwnSocket: () => false },
    publications: () => [],
  } as unknown as ExplainDeps;
  return { deps, deployment };
}

const KEY = Buffer.alloc(32, 7).toString('base64');
/** Where `db` takes datagrams, and its machine has a WireGuard key or none. */
const udp = (wireguard?: string): Partial<Contract> => ({
  services: CONTRACT.services.map((service) => ({ ...service, protocol: 'udp' })),
  members: CONTRACT.members.map((member) =>
    member.name === 'db-1' && wireguard !== undefined ? { ...member, wireguard } : member,
  ),
});

const AWAY = new MoatError('SERVICE_UNREACHABLE', 'no instance of db took the stream');
const REFUSED = { address: '192.0.2.7:4410', reason: 'refused' } as const;
const SILENT = { address: '[2001:db8::7]:4410', reason: 'timed out' } as const;

const TABLE: readonly {
  readonly what: string;
  readonly given: Circumstances;
  readonly is: readonly [allowed: boolean, works: boolean | null, code: string | null, path: string | null];
  readonly says: readonly RegExp[];
}[] = [
  {
    what: 'stale: no keeper has confirmed the version',
    given: { staleMs: 5 * 3_600_000 },
    is: [false, false, 'STALE', null],
    says: [/no keeper has confirmed version 7 to this machine for 5 h/],
  },
  {
    what: 'stale, on the machine that offers it',
    given: { staleMs: 5 * 3_600_000, self: DB },
    is: [false, false, 'STALE', null],
    says: [/longer than maxStale/],
  },
  {
    what: 'datagrams go over an interface: nobody but the service knows whether one is answered',
    given: { contract: udp(KEY), isMet: true, refusal: AWAY },
    is: [true, null, null, null],
    says: [
      /access\[0\] of version 7.*; datagrams go over WireGuard, and whether one is answered only the service knows/,
    ],
  },
  {
    what: 'datagrams, and this machine has no interface',
    given: { contract: udp(KEY) },
    is: [true, false, 'NEEDS_WIREGUARD', null],
    says: [/this machine has no WireGuard interface/, /^moat wireguard up -n shop$/m],
  },
  {
    what: 'datagrams, and the machine that takes them has no interface',
    given: { contract: udp() },
    is: [true, false, 'NEEDS_WIREGUARD', null],
    says: [/db-1 has no WireGuard interface/, /^on db-1: moat wireguard up -n shop$/m],
  },
  {
    what: 'datagrams, on the machine that takes them: no stream is tried',
    given: { contract: udp(KEY), self: DB },
    is: [true, null, null, null],
    says: [/access\[0\] of version 7/],
  },
  {
    what: 'datagrams, and the machine that asks takes them itself',
    given: { contract: { ...udp(KEY), access: [{ from: ['db-1', 'web-1'], to: ['db'] }] }, self: DB, as: 'db-1' },
    is: [true, null, null, null],
    says: [/access\[0\] of version 7/],
  },
  {
    what: 'a fork: what either branch removed is denied',
    given: { forked: true, contract: { access: [] } },
    is: [false, null, 'GRANT_DENIED', null],
    says: [/two branches of version 7 are signed, and what either removed is denied until owners end that/],
  },
  {
    what: 'two machines claim the place',
    given: { place: { name: 'db-1', peer: null, state: 'frozen' } },
    is: [true, false, 'PLACE_FROZEN', null],
    says: [/two machines claim the place of db-1/, /moat invite db-1 --replace/],
  },
  {
    what: 'the membership of the machine that offers it is over',
    given: { place: { name: 'db-1', peer: null, state: 'expired', untilMs: NOW - 1 } },
    is: [true, false, 'MEMBER_EXPIRED', null],
    says: [/the membership of db-1 ended at 2026-11-21T11:59:59/],
  },
  {
    what: 'the deployment was ended',
    given: { contract: { state: 'ended' } },
    is: [false, null, 'DEPLOYMENT_ENDED', null],
    says: [/shop was ended by its owners/],
  },
  {
    what: 'direct',
    given: { link: 'direct', reach: { path: 'direct', address: '192.0.2.7:4410' } },
    is: [true, true, null, 'direct'],
    says: [/connected directly at 192\.0\.2\.7:4410/],
  },
  {
    what: 'relayed, since both direct ways failed',
    given: { link: 'relayed', reach: { path: 'relayed', anchor: ANCHOR, known: 2, failures: [REFUSED, SILENT] } },
    is: [true, true, null, 'relayed'],
    says: [
      /no direct way to db-1 \(192\.0\.2\.7:4410 refused, \[2001:db8::7\]:4410 timed out\); the anchor gw\.example\.com relays/,
    ],
  },
  {
    what: 'spliced, since neither machine has a port',
    given: { link: 'spliced', reach: { path: 'relayed', anchor: ANCHOR } },
    is: [true, true, null, 'spliced'],
    says: [/db-1 has no inbound port that is known here.*; an anchor joins .* cannot read them/],
  },
  {
    what: 'spliced, since only the link port is closed',
    given: { link: 'spliced', reach: { path: 'direct', address: '192.0.2.7:4410' } },
    is: [true, true, null, 'spliced'],
    says: [/db-1 is connected at 192\.0\.2\.7:4410, but its link port is not reached/],
  },
  {
    what: 'no way: the network has no anchor',
    given: { refusal: AWAY, contract: { anchors: [] }, reach: { known: 1, failures: [SILENT] } },
    is: [true, false, 'PEER_UNREACHABLE', null],
    says: [
      /db-1 cannot be reached from here/,
      /timed out\); the network has no anchor, so machines meet on one LAN only/,
    ],
  },
  {
    what: 'no way: no anchor answers',
    given: { refusal: AWAY, reach: { known: 1, failures: [REFUSED] } },
    is: [true, false, 'NO_ANCHOR_REACHABLE', null],
    says: [/no anchor of the network answers this machine/, /moat node run --anchor/],
  },
  {
    what: 'no way: the anchor is there, the other machine is not',
    given: { refusal: AWAY, reservations: [ANCHOR] },
    is: [true, false, 'PEER_UNREACHABLE', null],
    says: [/the anchor answers, and the other machine is not there/],
  },
];

for (const { what, given, is, says } of TABLE) {
  test(what, async () => {
    const { deps, deployment } = world(given);
    const explained = await explain(deps, deployment, given.as ?? 'web-1', 'db', new AbortController().signal);
    const { allowed, works, code, path, reason, pathReason, next, version } = explained;
    assert.deepEqual([allowed, works, code, path], is, reason);
    assert.equal(version, 7);
    for (const pattern of says) assert.match([reason, pathReason, ...next].join('\n'), pattern);
  });
}

test('a device is explained as far as the contract goes: it has no agent to ask', async () => {
  const [web, db] = CONTRACT.members;
  assert.ok(web && db);
  const phone = { name: 'phone', via: 'web-1', ipv4: '10.77.0.9', tags: [] };
  const about = async (device: typeof phone & { wireguard?: string }): ReturnType<typeof explain> => {
    const access = [{ from: ['phone'], to: ['db'] }];
    const { deps, deployment } = world({ contract: { members: [web, db, device], access } });
    return await explain(deps, deployment, 'phone', 'db', new AbortController().signal);
  };
  const keyless = await about(phone);
  assert.deepEqual([keyless.allowed, keyless.works, keyless.code], [true, false, 'PEER_VACANT']);
  assert.deepEqual(keyless.next, ['moat wireguard export phone']);
  const { allowed, works, code, reason } = await about({ ...phone, wireguard: KEY });
  assert.deepEqual([allowed, works, code], [true, null, null]);
  assert.match(reason, /phone is a device behind web-1/);
});

test('a gateway that may not reach the target gets the code of the wire, and the operator the line to type', async () => {
  const gateway = { domain: 'gw.example.com', peers: [`/dns4/gw.example.com/tcp/4410/p2p/${ANCHOR}`] };
  const line = { name: 'shop', service: 'db', tls: 'terminate', gateway };
  const { deps, deployment } = world({
    self: DB,
    contract: { publish: [line as unknown as Contract['publish'][number]] },
  });
  const closed: ExplainDeps = { ...deps, exposed: { isExposed: () => false, isOwnSocket: () => false } };
  const explained = await explain(closed, deployment, 'public', 'shop', new AbortController().signal);
  assert.deepEqual([explained.allowed, explained.works, explained.code], [false, false, 'NOT_PUBLIC']);
  assert.deepEqual(explained.next, ['moat node expose 127.0.0.1:1 --to shop --public']);
});
