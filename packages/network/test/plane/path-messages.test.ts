import assert from 'node:assert/strict';
import { test } from 'node:test';

import fc from 'fast-check';
import { isMoatError } from '@moat/core';

import {
  ownCandidates,
  usableCandidates,
  type Candidate,
  type OwnAddresses,
} from '../../src/plane/paths/candidates.ts';
import { natKindOf } from '../../src/plane/paths/nat-kind.ts';
import { decodePathMessage, encodePathMessage, type PathMessage } from '../../src/plane/paths/path-messages.ts';
import { PUNCH_MS, planPunch, reasonOf, type PathEnd } from '../../src/plane/paths/punch-plan.ts';

const DEPLOYMENT = 'abcdefghijklmnopqrstuvwxyz';
const PEER = '12D3KooW9tfEmRVhPKdEBS6bqAmANZ5CvRpoiT6LTqEwK3fVwEyV';
const OURS: OwnAddresses = {
  local: ['192.168.1.5', '2001:db8::5'],
  port: 51_820,
  seen: [{ host: '198.51.100.7', port: 4_711 }],
  mapped: null,
};
const INSIDE = ['10.77.0.0/16', 'fd12:3456:789a::/48'];

const end = { nat: 'eim', candidates: [{ kind: 'observed', host: '198.51.100.9', port: 40_000 }], forwarders: [PEER] };

test('messages survive the way there', () => {
  const messages: PathMessage[] = [
    { type: 'offer', deployment: DEPLOYMENT, ...end } as PathMessage,
    { type: 'answer', ...end } as PathMessage,
    { type: 'refused', code: 'PATH_BUSY' },
    { type: 'try', attempt: 0, to: null, afterMs: 50 },
    { type: 'try', attempt: 1, to: 15, afterMs: 50 },
    { type: 'forward', attempt: 2, by: PEER },
    { type: 'heard', attempt: 2 },
    { type: 'settle', attempt: null },
    { type: 'wake', deployment: DEPLOYMENT },
    { type: 'check', deployment: DEPLOYMENT },
    { type: 'checked' },
    { type: 'lost', quietMs: 20_000 },
  ];
  for (const message of messages) assert.deepEqual(decodePathMessage(encodePathMessage(message)), message);
});

test('what is out of bounds is no message', () => {
  const candidate = end.candidates[0];
  const many = Array.from({ length: 17 }, (_, index) => ({ ...candidate, port: index + 1 }));
  const wrong: object[] = [
    { type: 'offer', deployment: DEPLOYMENT, ...end, candidates: many },
    { type: 'offer', deployment: DEPLOYMENT, ...end, forwarders: Array.from({ length: 9 }, () => PEER) },
    { type: 'offer', deployment: DEPLOYMENT, ...end, candidates: [{ ...candidate, host: 'example.com' }] },
    { type: 'offer', deployment: DEPLOYMENT, ...end, candidates: [{ ...candidate, port: 0 }] },
    { type: 'offer', deployment: DEPLOYMENT, ...end, more: 1 },
    { type: 'offer', deployment: 'x', ...end },
    { type: 'try', attempt: 0, to: 16, afterMs: 50 },
    { type: 'try', attempt: 16, to: 0, afterMs: 50 },
    { type: 'try', attempt: 0, to: 0, afterMs: 60_000 },
    { type: 'forward', attempt: 0, by: 'somebody' },
  ];
  for (const message of wrong) {
    assert.throws(() => decodePathMessage(Buffer.from(JSON.stringify(message))), { code: 'PATH_INVALID' });
  }
});

test('random bytes end in a coded error', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 200 }),
        fc.json().map((text) => Buffer.from(text)),
      ),
      (bytes) => {
        try {
          decodePathMessage(bytes);
        } catch (error) {
          assert.ok(isMoatError(error, 'PATH_INVALID'));
        }
      },
    ),
  );
});

test('a peer points us neither at this machine, a tunnel, everybody, nor our LAN', () => {
  const hosts = [
    '127.0.0.1',
    '127.77.1.2',
    '0.0.0.0',
    '169.254.169.254',
    '224.0.0.1',
    '239.255.255.250',
    '255.255.255.255',
    '240.0.0.1',
    '10.77.3.4',
    'fd12:3456:789a::1',
    '::1',
    '::',
    '::ffff:127.0.0.1',
    '64:ff9b::7f00:1',
    'fe80::1',
    'ff02::1',
    '192.168.1.1',
    '10.0.0.1',
    '172.16.0.1',
    '100.64.0.1',
    'fd00::1',
  ];
  const theirs = [
    { kind: 'observed' as const, host: '203.0.113.50', port: 9 },
    ...hosts.flatMap((host) =>
      (['lan', 'ipv6', 'mapped', 'observed'] as const).map((kind): Candidate => ({ kind, host, port: 5_353 })),
    ),
  ];
  assert.deepEqual(
    usableCandidates(theirs, OURS, INSIDE).map(({ host }) => host),
    ['203.0.113.50'],
  );
});

test('addresses of a LAN count where anchors see both machines under one address', () => {
  const lan: Candidate = { kind: 'lan', host: '192.168.1.9', port: 51_820 };
  const seen = (host: string): Candidate => ({ kind: 'observed', host, port: 40_000 });
  assert.ok(usableCandidates([lan, seen('198.51.100.7')], OURS, INSIDE).includes(lan));
  assert.ok(!usableCandidates([lan, seen('198.51.100.8')], OURS, INSIDE).includes(lan));
  // Nobody sees either: a LAN without internet.
  assert.ok(usableCandidates([lan], { ...OURS, seen: [] }, INSIDE).includes(lan));
  const elsewhere: Candidate = { ...lan, host: '192.168.2.9' };
  assert.ok(!usableCandidates([elsewhere], { ...OURS, seen: [] }, INSIDE).includes(elsewhere));
});

test('what is inside a tunnel is never offered', () => {
  const own: OwnAddresses = {
    local: ['10.77.0.2', '192.168.1.5', 'fe80::1', '2001:db8::5', 'fd12:3456:789a::2', '127.0.0.1'],
    port: 51_820,
    seen: [{ host: '198.51.100.7', port: 4_711 }],
    mapped: { host: '198.51.100.7', port: 51_820 },
  };
  assert.deepEqual(
    ownCandidates(own, INSIDE).map(({ kind, host }) => `${kind} ${host}`),
    ['mapped 198.51.100.7', 'observed 198.51.100.7', 'ipv6 2001:db8::5', 'lan 192.168.1.5'],
  );
});

test('the kind of NAT is what two anchors see', () => {
  const at = (port: number): { host: string; port: number } => ({ host: '198.51.100.7', port });
  const own = ['192.168.1.5'];
  assert.equal(natKindOf({ seen: [at(1), at(1)], silent: 0, own }), 'eim');
  assert.equal(natKindOf({ seen: [at(1), at(2)], silent: 0, own }), 'edm');
  assert.equal(natKindOf({ seen: [at(1)], silent: 1, own }), 'unknown');
  assert.equal(natKindOf({ seen: [], silent: 1, own }), 'blocked');
  assert.equal(natKindOf({ seen: [], silent: 0, own }), 'unseen');
  assert.equal(natKindOf({ seen: [at(1), at(1)], silent: 0, own: ['198.51.100.7'] }), 'none');
});

test('a mapped port lets a symmetric router meet anybody', () => {
  const observed = (host: string): Candidate => ({ kind: 'observed', host, port: 40_000 });
  const edm = (host: string): PathEnd => ({ nat: 'edm', candidates: [observed(host)] });
  const mapped: PathEnd = {
    nat: 'edm',
    candidates: [{ kind: 'mapped', host: '198.51.100.1', port: 51_820 }, observed('198.51.100.1')],
  };
  assert.deepEqual(planPunch(edm('198.51.100.1'), edm('198.51.100.2')), []);
  assert.equal(reasonOf(edm('198.51.100.1'), edm('198.51.100.2'), false), 'BOTH_SYMMETRIC');
  const [attempt] = planPunch(edm('198.51.100.2'), mapped);
  assert.equal(reasonOf(edm('198.51.100.2'), mapped, true), 'UNANSWERED');
  assert.deepEqual([attempt?.to?.kind, attempt?.from], ['mapped', null]);
  // Mapped by a router behind another: nobody outside reaches it.
  const inner: PathEnd = { nat: 'edm', candidates: [{ kind: 'mapped', host: '100.64.3.1', port: 51_820 }] };
  assert.deepEqual(
    planPunch(edm('198.51.100.2'), { ...inner, candidates: [...inner.candidates, observed('198.51.100.3')] }),
    [],
  );
});

test('a machine with IPv6 only meets one that has both', () => {
  const ipv6 = (kind: Candidate['kind'], host: string): Candidate => ({ kind, host, port: 51_820 });
  const only: PathEnd = { nat: 'unseen', candidates: [ipv6('observed', '2001:db8:1::2')] };
  const dual: PathEnd = {
    nat: 'none',
    candidates: [ipv6('observed', '203.0.113.91'), ipv6('ipv6', '2001:db8::91')],
  };
  const [attempt] = planPunch(dual, only);
  assert.deepEqual([attempt?.by, attempt?.from?.host, attempt?.to?.host], ['ipv6', '2001:db8::91', '2001:db8:1::2']);
  const ipv4: PathEnd = { nat: 'eim', candidates: [ipv6('observed', '203.0.113.91')] };
  assert.deepEqual(planPunch(ipv4, only), []);
  assert.equal(reasonOf(ipv4, only, false), 'NO_COMMON_WAY');
});

test('both sides plan the same, within the time', () => {
  const kind = fc.constantFrom('none', 'eim', 'edm', 'unknown', 'blocked', 'unseen' as const);
  const candidate = fc.record({
    kind: fc.constantFrom('lan', 'ipv6', 'mapped', 'observed' as const),
    host: fc.constantFrom('192.168.1.5', '192.168.1.6', '198.51.100.1', '198.51.100.2', '2001:db8::5'),
    port: fc.integer({ min: 1, max: 3 }),
  });
  const side = fc.record({ nat: kind, candidates: fc.array(candidate, { maxLength: 16 }) }) as fc.Arbitrary<PathEnd>;
  fc.assert(
    fc.property(side, side, (ours, theirs) => {
      const plan = planPunch(ours, theirs);
      assert.ok(plan.reduce((sum, { lastsMs }) => sum + lastsMs, 0) <= PUNCH_MS);
      const mirrored = planPunch(theirs, ours);
      assert.equal(
        plan.some(({ by }) => by !== 'lan'),
        mirrored.some(({ by }) => by !== 'lan'),
      );
      for (const { to, from } of plan) {
        assert.ok(to !== null || from !== null);
        assert.ok(to === null || theirs.candidates.includes(to));
        assert.ok(from === null || ours.candidates.includes(from));
      }
    }),
  );
});
