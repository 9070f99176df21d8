/** Renewal, with and without a word of the authority, and what the authority limits. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { systemClock, type Clock } from '@moat/core';
import { MemoryCertificateStore } from '@moat/acme';
import { renewalIdOf } from '../src/chain.ts';
import { standBefore } from './front.ts';
import { startPebble, withoutPebble, type Pebble } from './pebble.ts';
import { httpSolver, type ServingSolver } from './solvers.ts';
import { at, begin } from './started.ts';

const DAY_MS = 24 * 3_600_000;

/** The system's clock, which a test can set forward; timers are told at once. */
function settableClock(): Clock & { forward(ms: number): void } {
  let ahead = 0;
  const timers = new Set<{ readonly atMs: number; run(): void }>();
  return {
    now: () => Date.now() + ahead,
    after(delayMs, callback) {
      const entry = {
        atMs: Date.now() + ahead + delayMs,
        run: () => {
          timer.cancel();
          timers.delete(entry);
          callback();
        },
      };
      const timer = systemClock.after(delayMs, entry.run);
      timers.add(entry);
      return {
        cancel: () => {
          timer.cancel();
          timers.delete(entry);
        },
      };
    },
    forward(ms) {
      ahead += ms;
      const due = [...timers].filter(({ atMs }) => atMs <= Date.now() + ahead);
      for (const entry of due) entry.run();
    },
  };
}

suite('renewal', { ...(withoutPebble !== undefined && { skip: withoutPebble }), timeout: 60_000 }, () => {
  let solver: ServingSolver;
  let pebble: Pebble;

  before(async () => {
    solver = await httpSolver();
    pebble = await startPebble({ httpPort: solver.port });
  });
  after(async () => {
    await pebble[Symbol.asyncDispose]();
    await solver[Symbol.asyncDispose]();
  });

  test('by schedule: with another key, in time, while the old one is held', async () => {
    const clock = settableClock();
    const orders = pebble.orders();
    await using started = await begin({ solvers: [solver], clock }, { authorities: [at(pebble)] });
    started.certificates.want([['shop.example.com']]);
    const first = await started.obtained('shop.example.com');
    const lifeMs = first.notAfterMs - first.notBeforeMs;
    assert.ok(first.renewAtMs < first.notBeforeMs + (lifeMs * 2) / 3);
    const renewed = new Promise<unknown>((resolve) => started.certificates.onObtained(resolve));
    const [report] = started.certificates.list();
    clock.forward((report?.nextMs ?? 0) - clock.now() - 60_000);
    assert.equal(pebble.orders(), orders + 1, 'not a minute too soon');
    // Pebble's own clock stands: what it issues now is valid from now, and ends as the first one did.
    clock.forward(60_000);
    await renewed;
    const second = started.certificates.find('shop.example.com');
    assert.notEqual(second?.key, first.key);
    assert.equal(pebble.orders(), orders + 2);
  });

  test('a renewal that fails is tried again, and what is held is served meanwhile', async () => {
    const store = new MemoryCertificateStore();
    const clock = settableClock();
    await using started = await begin({ solvers: [solver], clock, store }, { authorities: [at(pebble)] });
    started.certificates.want([['shop.example.com']]);
    const first = await started.obtained('shop.example.com');
    await pebble.kill();
    clock.forward(first.renewAtMs - clock.now());
    const failed = await started.reported(({ failure }) => failure !== undefined);
    assert.equal(failed.state, 'valid');
    assert.equal(failed.failure?.code, 'ACME_UNREACHABLE');
    assert.equal(started.certificates.find('shop.example.com')?.certificate, first.certificate);
    clock.forward(first.notAfterMs - clock.now() + 1);
    const over = await started.reported(({ state }) => state === 'expired');
    assert.ok(over.held, 'also what is over is there, and said to be over');
    await pebble.restart();
  });

  test('the authority says when, and hears which certificate is replaced', async () => {
    await using front = await standBefore(pebble);
    const clock = settableClock();
    front.window = { start: new Date(Date.now() + 10 * DAY_MS), end: new Date(Date.now() + 11 * DAY_MS) };
    await using started = await begin(
      { solvers: [solver], clock },
      { authorities: [{ directory: front.directory, trust: pebble.trust, profile: 'shortlived' }] },
    );
    started.certificates.want([['shop.example.com']]);
    const first = await started.obtained('shop.example.com');
    const told = await started.reported(({ explanation }) => explanation !== undefined);
    assert.equal(told.explanation, 'https://ca.example/why');
    const renewalId = await renewalIdOf(first.certificate);
    assert.deepEqual(front.asked, [renewalId]);
    const [issuer] = started.certificates.issuers();
    assert.equal(issuer?.identity, 'ca.example');
    assert.match(issuer.accountUri ?? '', /\/my-account\//);
    const renewAtMs = told.nextMs ?? 0;
    assert.ok(renewAtMs >= front.window.start.getTime() && renewAtMs <= front.window.end.getTime());
    // A day later it wants all of them back at once: they were issued wrongly.
    front.window = { start: new Date(Date.now() - DAY_MS), end: new Date(Date.now()) };
    const renewed = new Promise<unknown>((resolve) => started.certificates.onObtained(resolve));
    clock.forward(DAY_MS);
    await renewed;
    assert.deepEqual(
      front.orders.map(({ replaces, profile }) => ({ replaces, profile })),
      [
        { replaces: undefined, profile: 'shortlived' },
        { replaces: renewalId, profile: 'shortlived' },
      ],
    );
  });

  test('an authority that knows the replaced one no more gets an order like any other', async () => {
    await using front = await standBefore(pebble);
    const clock = settableClock();
    front.window = { start: new Date(Date.now() + DAY_MS), end: new Date(Date.now() + 2 * DAY_MS) };
    await using started = await begin(
      { solvers: [solver], clock },
      { authorities: [{ directory: front.directory, trust: pebble.trust }] },
    );
    started.certificates.want([['shop.example.com']]);
    await started.obtained('shop.example.com');
    front.refuse = (_path, { replaces }) =>
      replaces === undefined ? undefined : { status: 409, type: `${ACME}alreadyReplaced`, detail: 'replaced before' };
    const renewed = new Promise<unknown>((resolve) => started.certificates.onObtained(resolve));
    clock.forward(3 * DAY_MS);
    await renewed;
  });

  test('a limit of the authority is kept to, to the time it says', async () => {
    await using front = await standBefore(pebble);
    front.refuse = (path) =>
      path.startsWith('/order-plz')
        ? { status: 429, type: `${ACME}rateLimited`, detail: 'too many\u001b[31m already', retryAfter: '90000' }
        : undefined;
    await using started = await begin(
      { solvers: [solver] },
      { authorities: [{ directory: front.directory, trust: pebble.trust }] },
    );
    started.certificates.want([['shop.example.com']]);
    const { failure, nextMs } = await started.reported((report) => report.failure !== undefined);
    assert.equal(failure?.code, 'ACME_LIMITED');
    assert.match(failure.message, /too many \[31m already/, 'its words cannot colour a terminal');
    assert.ok((nextMs ?? 0) >= Date.now() + 90_000_000 - 60_000);
  });

  test('a profile that the authority does not have is said, with those it has', async () => {
    await using front = await standBefore(pebble);
    await using started = await begin(
      { solvers: [solver] },
      { authorities: [{ directory: front.directory, trust: pebble.trust, profile: 'short' }] },
    );
    started.certificates.want([['shop.example.com']]);
    const { failure } = await started.reported((report) => report.failure !== undefined);
    assert.match(failure?.message ?? '', /no profile short: it has classic, shortlived/);
    assert.deepEqual(front.orders, []);
  });
});

const ACME = 'urn:ietf:params:acme:error:';
