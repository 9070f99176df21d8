/**
 * Every kind of NAT with every other, on real WireGuard: the first packet arrives, and then packets take the best way that
 * the two routers allow. The short form has one pair of each class, the long one all pairs.
 */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { eventually, full } from '../e2e/machine.ts';
import { labSkip } from './internet.ts';
import type { NatKind } from './nat.ts';
import { pictured } from './picture.ts';
import { TunnelWorld, type TunnelMember, DIRECT_MS } from './tunnel-world.ts';

const KINDS: readonly NatKind[] = ['eim', 'edm', 'cone', 'one2one', 'double', 'blocked'];
const MORE: readonly NatKind[] = ['open', 'short', 'ipv6'];
type Way = 'direct' | 'forwarded' | 'riding';

/**
 * Milliseconds from the first packet until the way stands, and packets pass it. The short form, which a busy machine may run,
 * leaves time for a second try.
 */
const LIMITS: Readonly<Record<Way, number>> = full
  ? { direct: 1_000, forwarded: 3_000, riding: 3_000 }
  : { direct: DIRECT_MS, forwarded: DIRECT_MS, riding: DIRECT_MS };

/**
 * Milliseconds until it is known why packets go on inside a link, where they pass from the first one on: questions that nobody
 * answers have to have had their time.
 */
const REASON_MS = full ? 6_000 : DIRECT_MS;

/** Milliseconds that a packet may take, and its answer. */
const ANSWER_MS = 500;

/** Who lets in packets of somebody whom it has not sent one. */
const OPEN: ReadonlySet<NatKind> = new Set(['open', 'one2one']);

/** The best way that physics allow. */
function wayOf(a: NatKind, b: NatKind): Way {
  const both = [a, b];
  if (both.includes('blocked')) return 'riding';
  // no address in common: a relay that has both would do, and only members with both kinds can be one
  if (both.filter((kind) => kind === 'ipv6').length === 1 && !both.includes('open')) return 'forwarded';
  if (!both.includes('edm')) return 'direct';
  const other = a === 'edm' ? b : a;
  return OPEN.has(other) || other === 'cone' ? 'direct' : 'forwarded';
}

const PAIRS: readonly (readonly [NatKind, NatKind])[] = full
  ? [
      ...KINDS.flatMap((a, i) => KINDS.slice(i).map((b) => [a, b] as const)),
      ...MORE.flatMap((a) => (['eim', 'edm', 'open'] as const).map((b) => [a, b] as const)),
    ]
  : [
      ['eim', 'eim'],
      ['edm', 'open'],
      ['edm', 'edm'],
      ['blocked', 'eim'],
    ];

/** Two of each kind that meets its own, one of the others. */
function membersOf(pairs: typeof PAIRS): Record<string, TunnelMember> {
  const members: Record<string, TunnelMember> = { relay: { address: 90, ipv6: true, relay: true } };
  for (const [a, b] of pairs) {
    members[`${a}-1`] = hostOf(a, 0);
    members[a === b ? `${b}-2` : `${b}-1`] = hostOf(b, a === b ? 1 : 0);
  }
  return members;
}

const hostOf = (nat: NatKind, index: number): TunnelMember =>
  nat === 'open' ? { nat, ipv6: true, address: 91 + index } : { nat };

suite('kinds of NAT, each with each', { skip: labSkip('wg', 'wireguard-go') }, () => {
  const world = new TunnelWorld();

  before(() => world.start({ members: membersOf(PAIRS) }));
  after(() => world[Symbol.asyncDispose]());

  for (const [a, b] of PAIRS) {
    const [from, to] = [`${a}-1`, a === b ? `${b}-2` : `${b}-1`];
    const way = wayOf(a, b);
    test(`${a} and ${b}: ${way}`, (t) =>
      pictured(world.internet, `${a}-${b}`, async () => {
        const since = performance.now();
        await eventually('a packet there and back', async () => (await world.ask(from, to)) === to);
        const first = performance.now() - since;
        let lost = 0;
        const peer = await eventually(
          `packets are ${way}`,
          async () => {
            const now = await world.peer(from, to);
            // packets that others may still move to a better way
            const isSettled = now.path !== 'riding' || (now.reason?.code ?? 'STARTING') !== 'STARTING';
            if (now.path === way && isSettled) return now;
            // whoever waits for a lost packet sees nothing meanwhile
            if ((await world.ask(from, to, { waitMs: ANSWER_MS })) !== to) lost += 1;
            return undefined;
          },
          LIMITS[way] + 10_000,
        );
        const took = performance.now() - since;
        t.diagnostic(
          `answered after ${first.toFixed(0)} ms, ${way} after ${took.toFixed(0)} ms, ${lost} packets lost${peer.reason === null ? '' : `: ${peer.reason.code}`}`,
        );
        assert.equal(await world.ask(to, from), from);
        assert.ok((way === 'riding' ? first : took) < LIMITS[way], `${first}, ${took} ms`);
        if (way === 'riding') assert.ok(took < REASON_MS, `the reason is known after ${took} ms`);
      }));
  }
});
