import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  buildView,
  createClaim,
  grantedServices,
  may,
  mayPublish,
  resolvePlaces,
  witnessClaim,
  type Access,
  type Contract,
  type MemberClaim,
  type PlaceState,
  type WitnessedClaim,
} from '@moat/contract';
import {
  NOW,
  contract,
  db1,
  deployment,
  gateway,
  identity,
  laptop,
  laptopClaim,
  laptopInvite,
  stranger,
  web1,
  without,
} from './deployment.fixture.ts';

const WIREGUARD = Buffer.alloc(32, 5).toString('base64');

function states(of: Contract, claims: readonly MemberClaim[], now: number = NOW): Record<string, PlaceState> {
  return Object.fromEntries(resolvePlaces(of, claims, now).map(({ name, state }) => [name, state]));
}

function answer(access: Access): string {
  return access.allowed ? `grant ${access.grant}` : access.code;
}

test('places are pinned, invited, vacant; a witnessed claim takes one', () => {
  assert.deepEqual(states(contract, []), { 'web-1': 'pinned', 'db-1': 'pinned', laptop: 'invited', spare: 'vacant' });
  const late = Date.parse('2026-11-20T11:00:00Z');
  assert.equal(states(contract, [], late)['laptop'], 'vacant');
  // Witnessed in time: it counts after the invite's end too.
  assert.equal(states(contract, [laptopClaim()], late)['laptop'], 'claimed');
  const place = buildView(contract, [laptopClaim(laptop, { details: { wireguard: WIREGUARD } })], NOW).memberOf(
    laptop.peer,
  );
  assert.equal(place?.name, 'laptop');
  assert.equal(place?.wireguard, WIREGUARD);
});

test('claims that do not hold under this contract count nothing', () => {
  const claim = laptopClaim();
  const bad: readonly MemberClaim[] = [
    laptopClaim(laptop, { keeper: db1 }),
    laptopClaim(laptop, { timeMs: NOW + 3_600_000 }),
    laptopClaim(laptop, { invite: stranger }),
    laptopClaim(laptop, { details: { member: 'spare' } }),
    { ...claim, nodeSignature: claim.inviteSignature ?? '' },
    { ...claim, details: { ...claim.details, wireguard: WIREGUARD } },
  ];
  assert.equal(states(contract, bad)['laptop'], 'invited');
});

test('two different witnessed claims freeze the place, a retry does not', () => {
  const twin = identity('web-2');
  const two: Contract = {
    ...contract,
    members: [...contract.members, { name: 'web-2', node: twin.peer, ipv4: '10.77.0.6', tags: [], keeper: true }],
  };
  const retry = laptopClaim(laptop, { keeper: twin, timeMs: NOW + 60_000 });
  assert.equal(states(two, [retry, laptopClaim()])['laptop'], 'claimed');
  const view = buildView(two, [laptopClaim(stranger, { keeper: twin }), laptopClaim()], NOW);
  assert.equal(view.places.get('laptop')?.state, 'frozen');
  assert.equal(view.places.get('laptop')?.peer, null);
  assert.equal(view.memberOf(laptop.peer), undefined);
  assert.equal(view.memberOf(stranger.peer), undefined);
  // The next version decides by pinning one of them.
  const pinned = without(two.members, 'invite').map((member) =>
    member.name === 'laptop' ? { ...member, node: laptop.peer } : member,
  );
  const decided = buildView({ ...two, members: pinned }, [laptopClaim(stranger), laptopClaim()], NOW);
  assert.equal(decided.memberOf(laptop.peer)?.state, 'pinned');
});

test('a machine holds one place: the pinned one, else the one witnessed first', () => {
  assert.equal(states(contract, [laptopClaim(web1)])['laptop'], 'frozen');
  const other = identity('spare invite');
  const members = contract.members.map((member) =>
    member.name === 'spare' ? { ...member, invite: { key: other.key, expires: '2026-11-20T11:00:00Z' } } : member,
  );
  const later = laptopClaim(laptop, { details: { member: 'spare' }, invite: other, timeMs: NOW + 1000 });
  for (const claims of [
    [laptopClaim(), later],
    [later, laptopClaim()],
  ]) {
    const view = buildView({ ...contract, members }, claims, NOW);
    assert.equal(view.memberOf(laptop.peer)?.name, 'laptop');
    assert.equal(view.places.get('spare')?.state, 'frozen');
  }
});

test("a pinned machine's claim tells its WireGuard key, the newest one", () => {
  const claims = [NOW, NOW + 1000].map((timeMs, i) => {
    const nonce = contract.publish[0]?.salt ?? '';
    const details = { nonce, member: 'db-1', wireguard: Buffer.alloc(32, i).toString('base64') };
    const own = createClaim({ deployment, details, nodeSigner: db1.signer, inviteSigner: null });
    return { ...witnessClaim(own, timeMs, web1.signer), details };
  });
  const place = buildView(contract, claims.toReversed(), NOW).places.get('db-1');
  assert.equal(place?.state, 'pinned');
  assert.equal(place?.wireguard, Buffer.alloc(32, 1).toString('base64'));
});

test('a membership ends', () => {
  const end = Date.parse('2026-12-20T00:00:00Z');
  const view = buildView(contract, [laptopClaim()], end);
  assert.equal(view.places.get('laptop')?.state, 'expired');
  assert.equal(view.memberOf(laptop.peer), undefined);
  assert.deepEqual(
    view.membersOn('web').map(({ name }) => name),
    ['web-1'],
  );
});

test('the view answers who offers what and who is who', () => {
  const view = buildView(contract, [laptopClaim()], NOW);
  const names = (places: readonly { readonly name: string }[]): string[] => places.map(({ name }) => name);
  assert.deepEqual(names(view.membersOn('web')), ['web-1', 'laptop']);
  assert.deepEqual(names(buildView(contract, [], NOW).membersOn('web')), ['web-1']);
  assert.deepEqual(names(view.membersOn('nothing')), []);
  assert.deepEqual(names(view.servicesOf('laptop')), ['web']);
  assert.deepEqual(names(view.servicesOf('nobody')), []);
  assert.deepEqual(view.peers(), [web1.peer, db1.peer, laptop.peer]);
  assert.deepEqual(names(view.keepers()), ['web-1']);
  assert.equal(view.memberOf(web1.peer)?.name, 'web-1');
  assert.equal(view.memberOf(stranger.peer), undefined);
  assert.equal(view.services.get('db')?.port, 5432);
});

test('the view says when to build it again', () => {
  const view = buildView(contract, [], NOW);
  const times: (number | null)[] = [];
  for (let at: number | null = NOW; at !== null; at = view.nextExpiry(at)) times.push(at);
  assert.deepEqual(
    times.map((time) => new Date(time ?? 0).toISOString().slice(0, 16)),
    ['2026-11-20T10:00', '2026-11-20T11:00', '2026-11-21T00:00', '2026-12-20T00:00'],
  );
});

test('may answers by the access list alone, with the line', () => {
  const view = buildView(contract, [laptopClaim()], NOW);
  assert.equal(answer(may(view, 'web-1', 'db', NOW)), 'grant 0');
  assert.equal(answer(may(view, 'laptop', 'db', NOW)), 'grant 0');
  assert.equal(answer(may(view, 'laptop', 'web', NOW)), 'grant 1');
  assert.equal(answer(may(view, 'web-1', 'web', NOW)), 'GRANT_DENIED');
  assert.equal(answer(may(view, 'db-1', 'db', NOW)), 'GRANT_DENIED');
  assert.equal(answer(may(view, 'web-1', 'smtp', NOW)), 'SERVICE_UNKNOWN');
  assert.equal(answer(may(view, 'nobody', 'db', NOW)), 'MEMBER_UNKNOWN');
  assert.match(may(view, 'web-1', 'db', NOW).reason, /access\[0\] of version 0: tag:web → db/);
  assert.deepEqual(
    grantedServices(view, 'laptop', NOW).map(({ name }) => name),
    ['web', 'db'],
  );
  // A selector is no name: nobody is called tag:web, and names are not prefixes.
  assert.equal(answer(may(view, 'tag:web', 'db', NOW)), 'MEMBER_UNKNOWN');
  assert.equal(answer(may(view, 'constructor', 'db', NOW)), 'MEMBER_UNKNOWN');
  assert.equal(answer(may(view, 'web-1', '__proto__', NOW)), 'SERVICE_UNKNOWN');
});

test('grants and memberships end at their time, even in an older view', () => {
  const view = buildView(contract, [laptopClaim()], NOW);
  const grantEnd = Date.parse('2026-11-21T00:00:00Z');
  const memberEnd = Date.parse('2026-12-20T00:00:00Z');
  assert.equal(answer(may(view, 'web-1', 'db', grantEnd - 1)), 'grant 0');
  assert.equal(answer(may(view, 'web-1', 'db', grantEnd)), 'GRANT_EXPIRED');
  assert.equal(answer(may(view, 'laptop', 'web', memberEnd - 1)), 'grant 1');
  assert.equal(answer(may(view, 'laptop', 'web', memberEnd)), 'MEMBER_EXPIRED');
  const until = (from: string, to: string): number | undefined => {
    const access = may(view, from, to, NOW);
    return access.allowed ? access.untilMs : undefined;
  };
  assert.equal(until('web-1', 'db'), grantEnd);
  assert.equal(until('laptop', 'web'), memberEnd);
});

test('of several lines the one that lasts longest answers', () => {
  const line = { from: ['web-1'], to: ['db'] };
  const access = [{ ...line, expires: '2026-11-20T10:30:00Z' }, { ...line, expires: '2026-11-20T12:00:00Z' }, line];
  const view = buildView({ ...contract, access }, [], NOW);
  assert.equal(answer(may(view, 'web-1', 'db', NOW)), 'grant 2');
  const ending = buildView({ ...contract, access: access.slice(0, 2) }, [], NOW);
  assert.equal(answer(may(ending, 'web-1', 'db', NOW)), 'grant 1');
});

test('an ended deployment allows nothing', () => {
  const view = buildView({ ...contract, state: 'ended' }, [], NOW);
  assert.equal(answer(may(view, 'web-1', 'db', NOW)), 'DEPLOYMENT_ENDED');
  assert.equal(mayPublish(view, gateway.peer, 'web').allowed, false);
  // Its members still learn that it ended.
  assert.deepEqual(view.peers(), [web1.peer, db1.peer]);
});

test('a gateway reaches what is published at it and nothing else', () => {
  const view = buildView(contract, [], NOW);
  assert.deepEqual(
    mayPublish(view, gateway.peer, 'web').publications.map(({ name }) => name),
    ['shop'],
  );
  assert.equal(mayPublish(view, gateway.peer, 'db').allowed, false);
  assert.equal(mayPublish(view, stranger.peer, 'web').allowed, false);
  assert.equal(view.memberOf(gateway.peer), undefined);
});

test('signatures are verified once, the rules of the version each time', () => {
  const proven = new WeakSet<WitnessedClaim>();
  const claim = laptopClaim();
  const peerOf = (of: Contract, given: MemberClaim): string | null | undefined =>
    buildView(of, [given], NOW, proven).places.get('laptop')?.peer;
  assert.equal(peerOf(contract, claim), laptop.peer);
  assert.equal(proven.has(claim), true);
  assert.equal(peerOf(contract, claim), laptop.peer);
  // A proven claim counts no more than another: its invite was replaced, its keeper is none any more.
  const members = contract.members.map((member) => ({ ...member }));
  const invite = { key: stranger.key, expires: '2026-11-20T11:00:00Z' };
  assert.equal(peerOf({ ...contract, members: members.map((m) => (m.invite ? { ...m, invite } : m)) }, claim), null);
  const earlier = { key: laptopInvite.key, expires: '2026-11-20T10:00:00Z' };
  assert.equal(
    peerOf({ ...contract, members: members.map((m) => (m.invite ? { ...m, invite: earlier } : m)) }, claim),
    null,
  );
  const keepers = members.map((m, i) => (i < 2 ? { ...m, node: i === 0 ? stranger.peer : db1.peer } : m));
  assert.equal(peerOf({ ...contract, members: keepers }, claim), null);
  // A forged claim is never proven.
  const forged = { ...claim, nodeSignature: claim.keeperSignature };
  assert.equal(peerOf(contract, forged), null);
  assert.equal(proven.has(forged), false);
});
