import type { TunnelSpec } from '@moat/core';
import fc from 'fast-check';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { rulesDigest } from '../src/nft.ts';
import { describeStep, planTunnel, type Standing, type Step } from '../src/plan.ts';

const keys = ['bob', 'carol', 'dave', 'probe'];
const cidrs = ['10.77.0.3/32', '10.77.0.4/32', '10.77.0.5/32', 'fd00:77::3/128', '10.78.0.0/16'];
const addresses = ['10.77.0.2/16', '10.77.0.12/16', 'fd00:77::2/64'];
const routes = ['10.77.0.0/16', 'fd00:77::/64', '10.78.0.0/16', '0.0.0.0/0'];
const settings = new Map([
  ['rp_filter', '2'],
  ['accept_ra', '0'],
]);

/** Each range has one owner at most, as in WireGuard. */
const peers = fc
  .tuple(fc.subarray(keys.slice(0, 3)), fc.array(fc.nat(2), { minLength: cidrs.length, maxLength: cidrs.length }))
  .map(([present, owners]) =>
    present.map((publicKey, index) => ({ publicKey, allowedIps: cidrs.filter((_, at) => owners[at] === index) })),
  );
const spec: fc.Arbitrary<TunnelSpec> = fc.record({
  name: fc.constant('moat0'),
  namespace: fc.constant(null),
  privateKey: fc.constantFrom('k1', 'k2'),
  port: fc.constantFrom(1, 2),
  mtu: fc.constantFrom(1280, 1420),
  addresses: fc.subarray(addresses),
  routes: fc.subarray(routes),
  peers,
  rules: fc.record({ chains: fc.constantFrom('', 'chain a {}', 'chain b {}') }),
});
const standing: fc.Arbitrary<Standing | null> = fc.option(
  fc.record({
    up: fc.boolean(),
    privateKey: fc.constantFrom(null, 'k1', 'k2'),
    port: fc.constantFrom(1, 2, 3),
    mtu: fc.constantFrom(1280, 1420, 1500),
    addresses: fc.subarray([...addresses, '10.9.9.9/32', 'fe80::1/64']),
    routes: fc.subarray([...routes, '10.99.0.0/16']),
    peers: fc
      .tuple(peers, fc.boolean())
      .map(([all, probes]) => [...all, ...(probes ? [{ publicKey: 'probe', allowedIps: [] }] : [])]),
    settings: fc.constantFrom(settings, new Map([['rp_filter', '0']]), new Map()),
    rules: fc.constantFrom(null, rulesDigest(''), rulesDigest('chain a {}'), 'closed'),
  }),
);

/** What a machine is after a step, as Linux and WireGuard do it. */
function after(before: Standing | null, step: Step): Standing | null {
  if (step.do === 'create') {
    assert.equal(before, null);
    const none = { up: false, privateKey: null, port: 0, mtu: 1420, rules: null };
    return { ...none, addresses: [], routes: [], peers: [], settings: new Map() };
  }
  assert.ok(before, 'nothing is changed that is not there');
  const { peers: all } = before;
  switch (step.do) {
    case 'remove-peer':
      assert.ok(all.some(({ publicKey }) => publicKey === step.publicKey));
      return { ...before, peers: all.filter(({ publicKey }) => publicKey !== step.publicKey) };
    case 'take-allowed-ip':
      return {
        ...before,
        peers: all.map(({ publicKey, allowedIps }) => ({
          publicKey,
          allowedIps: allowedIps.filter((cidr) => cidr !== step.cidr),
        })),
      };
    case 'add-peer':
    case 'give-allowed-ips': {
      assert.equal(
        all.some(({ publicKey }) => publicKey === step.publicKey),
        step.do === 'give-allowed-ips',
      );
      const others = all.filter(({ publicKey }) => publicKey !== step.publicKey);
      const held = new Set(others.flatMap(({ allowedIps }) => allowedIps));
      assert.ok(!step.allowedIps.some((cidr) => held.has(cidr)), 'no range is taken over from a peer that has it');
      return { ...before, peers: [...others, { publicKey: step.publicKey, allowedIps: step.allowedIps }] };
    }
    case 'remove-route':
      assert.ok(before.routes.includes(step.route));
      return { ...before, routes: before.routes.filter((route) => route !== step.route) };
    case 'add-route':
      assert.ok(before.up && !before.routes.includes(step.route));
      return { ...before, routes: [...before.routes, step.route] };
    case 'remove-address': {
      assert.ok(before.addresses.includes(step.address));
      const left = before.addresses.filter((address) => address !== step.address);
      const flushed = !step.address.includes(':') && left.every((address) => address.includes(':'));
      return { ...before, addresses: left, routes: before.routes.filter((route) => !flushed || route.includes(':')) };
    }
    case 'add-address':
      assert.ok(!before.addresses.includes(step.address));
      return { ...before, addresses: [...before.addresses, step.address] };
    case 'rules':
      return { ...before, rules: rulesDigest(step.chains) };
    case 'setting':
      return { ...before, settings: new Map(before.settings).set(step.key, step.value) };
    case 'key':
      return { ...before, privateKey: step.privateKey };
    case 'port':
      return { ...before, port: step.port };
    case 'mtu':
      return { ...before, mtu: step.mtu };
    case 'up':
    default:
      return { ...before, up: true };
  }
}

const GOES = new Set(['remove-peer', 'take-allowed-ip', 'remove-route', 'remove-address']);

test('the steps lead from whatever stands to the spec, and none is left then', () => {
  const property = fc.property(standing, spec, fc.boolean(), (drawn, wanted, kept) => {
    // A link that is down has no routes.
    const before = drawn && !drawn.up ? { ...drawn, routes: [] } : drawn;
    const options = { settings, keep: new Set(kept ? ['probe'] : []) };
    const steps = planTunnel(before, wanted, options);
    const reached = steps.reduce(after, before);
    assert.ok(reached);
    assert.deepEqual(planTunnel(reached, wanted, options), []);
    assert.deepEqual(new Set(reached.addresses), new Set(wanted.addresses));
    assert.deepEqual(new Set(reached.routes), new Set(wanted.routes));
    assert.equal(reached.rules, rulesDigest(wanted.rules.chains));
    assert.ok(reached.up && reached.privateKey === wanted.privateKey);
    const probes = reached.peers.filter(({ publicKey }) => publicKey === 'probe').length;
    assert.equal(probes, kept && before?.peers.some(({ publicKey }) => publicKey === 'probe') ? 1 : 0);
    assert.deepEqual(
      reached.peers
        .filter(({ publicKey }) => publicKey !== 'probe')
        .map(({ publicKey, allowedIps }) => [publicKey, new Set(allowedIps)])
        .toSorted(),
      wanted.peers.map(({ publicKey, allowedIps }) => [publicKey, new Set(allowedIps)]).toSorted(),
    );
  });
  fc.assert(property, { numRuns: 2000 });
});

test('first all that goes, then the rules, then all that comes', () => {
  fc.assert(
    fc.property(standing, spec, (before, wanted) => {
      const kinds = planTunnel(before, wanted, { settings, keep: new Set() }).map((step) => step.do);
      const rules = kinds.indexOf('rules');
      const lastGone = kinds.findLastIndex((kind) => GOES.has(kind));
      const firstComes = kinds.findIndex((kind) => !GOES.has(kind) && kind !== 'create' && kind !== 'rules');
      if (rules >= 0) assert.ok(lastGone < rules && (firstComes < 0 || rules < firstComes));
      if (firstComes >= 0) assert.ok(lastGone < firstComes);
    }),
  );
});

test('what stays is not touched', () => {
  fc.assert(
    fc.property(spec, (wanted) => {
      const steps = planTunnel(null, wanted, { settings, keep: new Set() });
      const whole = steps.reduce(after, null);
      assert.ok(whole);
      const [first, ...others] = wanted.peers;
      const fewer = planTunnel(whole, { ...wanted, peers: others }, { settings, keep: new Set() });
      assert.deepEqual(fewer, first ? [{ do: 'remove-peer', publicKey: first.publicKey }] : []);
    }),
  );
});

test('no step says a secret', () => {
  fc.assert(
    fc.property(standing, spec, (before, wanted) => {
      const secret = 'uK7hBh1wYtqf0eFvR6XzQyqO0nKp2nYb5tF0fK3c7lQ=';
      const steps = planTunnel(before, { ...wanted, privateKey: secret }, { settings, keep: new Set() });
      assert.ok(!steps.map(describeStep).join('\n').includes(secret));
    }),
  );
});
