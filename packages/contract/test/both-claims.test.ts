/** Places taken by claim while two branches stand: nobody gets one that either branch denies. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  buildView,
  createClaim,
  whatBothAllow,
  witnessClaim,
  type Contract,
  type ContractView,
  type Member,
  type MemberClaim,
} from '@moat/contract';
import {
  NOW,
  contract,
  db1,
  deployment,
  identity,
  laptop,
  stranger,
  web1,
  type Identity,
} from './deployment.fixture.ts';

const NAMES = ['one', 'two', 'three'];
const CLAIMANTS = [laptop, stranger, db1];

function claimOn(member: string, node: Identity, keeper: Identity, timeMs: number): MemberClaim {
  const details = { nonce: Buffer.alloc(16, 3).toString('base64url'), member, wireguard: null };
  const request = { deployment, details, nodeSigner: node.signer, inviteSigner: identity(member).signer };
  return { ...witnessClaim(createClaim(request), timeMs, keeper.signer), details };
}

const CLAIMS = NAMES.flatMap((member, m) =>
  CLAIMANTS.flatMap((node, n) =>
    [web1, db1].map((keeper, k) => claimOn(member, node, keeper, NOW - 60_000 * (1 + ((m * 5 + n * 7 + k * 3) % 11)))),
  ),
);

function vacant(name: string): Member {
  const invite = { key: identity(name).key, expires: '2026-11-20T11:00:00Z' };
  return { name, ipv4: `10.77.0.${20 + NAMES.indexOf(name)}`, tags: [], invite };
}

function withMembers(members: readonly Member[]): Contract {
  return {
    ...contract,
    members: [{ name: 'web-1', node: web1.peer, ipv4: '10.77.0.2', tags: [], keeper: true }, ...members],
  };
}

function views(left: Contract, right: Contract, claims: readonly MemberClaim[], now = NOW): ContractView[] {
  const shared = buildView(whatBothAllow(left, right), claims, now, undefined, [left, right]);
  return [shared, ...[left, right].map((of) => buildView(of, claims, now))];
}

test('a machine that one branch pins elsewhere does not get the place that it claimed too', () => {
  const pinned = { name: 'db-1', node: laptop.peer, ipv4: '10.77.0.3', tags: [] };
  const left = withMembers([vacant('one'), pinned]);
  const right = withMembers([vacant('one')]);
  for (const branches of [[left, right] as const, [right, left] as const]) {
    const [shared] = views(...branches, [claimOn('one', laptop, web1, NOW - 1000)]);
    assert.equal(shared?.memberOf(laptop.peer), undefined);
    assert.equal(shared?.places.get('one')?.state, 'frozen');
  }
});

test('a place that is frozen on one branch stays so', () => {
  const keeper = { name: 'db-1', node: db1.peer, ipv4: '10.77.0.3', tags: [] };
  const left = withMembers([vacant('one'), { ...keeper, keeper: true }]);
  const right = withMembers([vacant('one'), keeper]);
  const claims = [claimOn('one', laptop, web1, NOW - 1000), claimOn('one', stranger, db1, NOW - 2000)];
  assert.equal(buildView(right, claims, NOW).memberOf(laptop.peer)?.name, 'one');
  assert.equal(views(left, right, claims)[0]?.memberOf(laptop.peer), undefined);
});

test('whoever holds a place holds the same one on each branch', () => {
  const expires = fc.constantFrom('2026-11-20T10:30:00Z', '2026-11-20T11:30:00Z', undefined);
  const place = (name: string): fc.Arbitrary<Member[]> =>
    fc
      .record({ present: fc.boolean(), node: fc.constantFrom(undefined, undefined, ...CLAIMANTS), expires })
      .map(({ present, node, expires: end }): Member[] => {
        if (!present) return [];
        const { ipv4, tags } = vacant(name);
        const taken = node === undefined ? vacant(name) : { name, ipv4, tags, node: node.peer };
        return [end === undefined ? taken : { ...taken, expires: end }];
      });
  const keeper = fc
    .boolean()
    .map((isKeeper): Member[] => [
      { name: 'db-1', node: db1.peer, ipv4: '10.77.0.3', tags: [], ...(isKeeper ? { keeper: true as const } : {}) },
    ]);
  const branch = fc
    .tuple(fc.oneof(fc.constant([]), keeper), ...NAMES.map(place))
    .map((members) => withMembers(members.flat()))
    .filter(({ members }) => {
      const nodes = members.flatMap(({ node }) => node ?? []);
      return new Set(nodes).size === nodes.length;
    });
  const later = Date.parse('2026-11-20T10:45:00Z');
  fc.assert(
    fc.property(branch, branch, fc.subarray(CLAIMS), fc.constantFrom(NOW, later), (left, right, claims, now) => {
      const [shared, ...each] = views(left, right, claims, now);
      for (const peer of shared?.peers() ?? []) {
        const name = shared?.memberOf(peer)?.name;
        assert.deepEqual(
          each.map((view) => view.memberOf(peer)?.name),
          [name, name],
        );
      }
    }),
    { numRuns: 300 },
  );
});
