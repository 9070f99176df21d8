/** What a machine acts on while two branches stand: never more than either allows. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { buildView, may, whatBothAllow, type Contract, type Member } from '@moat/contract';
import { NOW, contract, db1, gateway, laptop, laptopClaim, stranger, web1 } from './deployment.fixture.ts';

const claims = [laptopClaim()];

function edited(name: string, change: Partial<Member>): Contract['members'] {
  return contract.members.map((member) => (member.name === name ? { ...member, ...change } : member));
}

function both(left: Partial<Contract>, right: Partial<Contract> = {}): Contract {
  return whatBothAllow({ ...contract, ...left }, { ...contract, ...right });
}

function allowed(of: Contract, from: string, to: string): boolean {
  return may(buildView(of, claims, NOW), from, to, NOW).allowed;
}

describe('what both branches allow', () => {
  it('is the contract itself where they say the same', () => {
    assert.deepEqual(whatBothAllow(contract, { ...contract, name: 'other' }), contract);
  });

  it('leaves out a member that either removed or gave to another machine', () => {
    const gone = contract.members.filter(({ name }) => name !== 'db-1');
    const services = contract.services.filter(({ name }) => name !== 'db');
    const access = contract.access.slice(1);
    const without = { members: gone, services, access };
    for (const one of [both(without), both({}, without)]) {
      assert.equal(buildView(one, claims, NOW).memberOf(db1.peer), undefined);
      assert.deepEqual(
        one.services.map(({ name }) => name),
        ['web'],
      );
      assert.equal(allowed(one, 'web-1', 'db'), false);
      assert.equal(allowed(one, 'laptop', 'web'), true);
    }
    const swapped = both({}, { members: edited('db-1', { node: stranger.peer }) });
    assert.equal(buildView(swapped, claims, NOW).memberOf(db1.peer), undefined);
    assert.equal(buildView(swapped, claims, NOW).memberOf(stranger.peer), undefined);
  });

  it('leaves out a place whose invite either replaced', () => {
    const invite = { key: stranger.key, expires: '2026-11-20T12:00:00Z' };
    const one = both({}, { members: edited('laptop', { invite }) });
    assert.equal(buildView(one, claims, NOW).memberOf(laptop.peer), undefined);
    assert.equal(buildView(contract, claims, NOW).memberOf(laptop.peer)?.name, 'laptop');
  });

  it('keeps tags, keepers and ends that both give', () => {
    const one = both(
      { members: edited('web-1', { tags: ['web', 'new'] }) },
      { members: edited('web-1', { tags: ['new'] }) },
    );
    assert.deepEqual(one.members[0]?.tags, ['new']);
    const sooner = both({}, { members: edited('laptop', { expires: '2026-11-21T00:00:00Z' }) });
    assert.equal(sooner.members[2]?.expires, '2026-11-21T00:00:00Z');
    const later = both({ members: edited('web-1', { expires: '2026-11-22T00:00:00Z' }) });
    assert.equal(later.members[0]?.expires, '2026-11-22T00:00:00Z');
    const [{ keeper: _, ...rest }] = contract.members as [Member, ...Member[]];
    const demoted = both({}, { members: [rest, ...contract.members.slice(1)] });
    assert.deepEqual(buildView(demoted, [], NOW).keepers(), []);
  });

  it('keeps grants pairwise, with the earlier end', () => {
    const access = [{ from: ['laptop', 'db-1'], to: ['web', 'db'], expires: '2026-11-25T00:00:00Z' }];
    const one = both(
      { access },
      {
        access: [
          { from: ['db-1', 'spare'], to: ['db'] },
          { from: ['laptop'], to: ['web'] },
        ],
      },
    );
    assert.deepEqual(one.access, [
      { from: ['db-1'], to: ['db'], expires: '2026-11-25T00:00:00Z' },
      { from: ['laptop'], to: ['web'], expires: '2026-11-25T00:00:00Z' },
    ]);
    assert.equal(allowed(one, 'laptop', 'db'), false);
  });

  it('leaves out a service either moved and a publication either changed', () => {
    const moved = contract.services.map((service) => ({ ...service, target: '127.0.0.1:22' }));
    assert.deepEqual(both({}, { services: moved }).services, []);
    assert.deepEqual(both({}, { services: moved }).publish, []);
    assert.deepEqual(both({}, { publish: [] }).publish, []);
    const [line] = contract.publish;
    assert.ok(line);
    assert.deepEqual(both({ publish: [{ ...line, tls: 'passthrough' }] }).publish, []);
    assert.deepEqual(buildView(both({ publish: [] }), [], NOW).publishedAt(gateway.peer), []);
  });

  it('is ended where either ended it, and stale as soon as either says', () => {
    assert.equal(both({}, { state: 'ended' }).state, 'ended');
    assert.equal(both({ state: 'ended' }).state, 'ended');
    const stale = (maxStale: number): Contract['network'] => ({ ...contract.network, maxStale });
    assert.equal(both({ network: stale(7_200_000) }).network.maxStale, 7_200_000);
    assert.equal(both({ network: stale(7_200_000) }, { network: stale(3_600_000) }).network.maxStale, 3_600_000);
  });

  it('never lets in more than either branch does', () => {
    const names = ['web-1', 'db-1', 'laptop', 'spare'];
    const tag = fc.constantFrom('web', 'red', 'blue');
    const memberIn = fc.record({
      present: fc.boolean(),
      tags: fc.uniqueArray(tag),
      node: fc.constantFrom(web1.peer, db1.peer, laptop.peer, stranger.peer, undefined),
    });
    const selector = fc.oneof(
      fc.constantFrom(...names),
      tag.map((name) => `tag:${name}`),
    );
    const grant = fc.record({
      from: fc.uniqueArray(selector, { minLength: 1 }),
      to: fc.uniqueArray(fc.constantFrom('web', 'db'), { minLength: 1 }),
      expires: fc.constantFrom('2026-11-19T00:00:00Z', '2026-11-25T00:00:00Z', undefined),
    });
    const branch = fc
      .record({ members: fc.tuple(memberIn, memberIn, memberIn, memberIn), access: fc.array(grant, { maxLength: 4 }) })
      .map(({ members, access }): Contract => {
        const kept = names.flatMap((name, i): Member[] => {
          const of = members[i];
          if (of === undefined || !of.present) return [];
          return [
            { name, ipv4: `10.77.0.${i + 2}`, tags: of.tags, ...(of.node === undefined ? {} : { node: of.node }) },
          ];
        });
        const lines = access.map(({ expires, ...rest }) => ({
          ...rest,
          ...(expires === undefined ? {} : { expires }),
        }));
        return { ...contract, members: kept, access: lines };
      })
      // A machine has one place: checkContract says so.
      .filter(({ members }) => {
        const pinned = members.flatMap(({ node }) => node ?? []);
        return new Set(pinned).size === pinned.length;
      });
    const peers = [web1.peer, db1.peer, laptop.peer, stranger.peer];
    fc.assert(
      fc.property(branch, branch, (left, right) => {
        const views = [whatBothAllow(left, right), left, right].map((of) => buildView(of, [], NOW));
        for (const peer of peers) {
          for (const service of ['web', 'db']) {
            const [shared, ...each] = views.map((view) => {
              const place = view.memberOf(peer);
              return place !== undefined && may(view, place.name, service, NOW).allowed;
            });
            if (shared === true) assert.deepEqual(each, [true, true]);
          }
        }
      }),
      { numRuns: 300 },
    );
  });
});
