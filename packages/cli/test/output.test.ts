import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import type { DeploymentDetail } from '@moat/admin-api';
import { MoatError } from '@moat/core';
import type { Io } from '../src/io.ts';
import { distinctRows, publicationMark, publicationReason, withConsent } from '../src/output/publication.ts';
import { createProgress } from '../src/output/progress.ts';
import { errorBody, renderError } from '../src/output/render-error.ts';
import { createStyle } from '../src/output/style.ts';
import { renderTable } from '../src/output/table.ts';
import { formatDuration, parseDuration, shorten } from '../src/output/units.ts';

const plain = createStyle(new PassThrough());

test('an error has what, cause, next and code', () => {
  const error = new MoatError('NAME_HELD', 'cannot publish shop: the name is held', {
    reason: 'another contract claimed it first',
    next: ['moat names', 'moat publish web --name shop-2'],
  });
  assert.equal(
    renderError(errorBody(error), plain),
    [
      '✗ cannot publish shop: the name is held',
      '  Cause  another contract claimed it first',
      '  Next   moat names',
      '         moat publish web --name shop-2',
      '  Code   NAME_HELD   docs/errors.md#name_held',
    ].join('\n'),
  );
});

test('an error without a code of ours is INTERNAL and keeps what the system said', () => {
  const system = Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
  assert.equal(errorBody(system).code, 'INTERNAL');
  assert.match(errorBody(system).message, /^ECONNREFUSED/);
  assert.equal(errorBody('just text').message, 'just text');
});

test('a table lines up, whatever is coloured or wide', () => {
  const rows = [
    ['NAME', 'ADDRESS', 'NOTE'],
    ['\u001b[32mweb-1\u001b[39m', '10.0.0.2', ''],
    ['数据', '10.0.0.33', 'x'],
  ];
  const lines = renderTable(rows, { indent: 2 }).split('\n');
  assert.equal(lines[0], '  NAME   ADDRESS    NOTE');
  assert.equal(lines[1], '  \u001b[32mweb-1\u001b[39m  10.0.0.2');
});

test('what is too long for a cell stands below its row, no wider than the terminal', () => {
  const rows = [
    ['NAME', 'PATH'],
    ['web-1', 'relayed'],
    ['db-1', ''],
  ];
  const notes = [undefined, 'no direct way to web-1 (refused); the anchor relays'];
  assert.deepEqual(renderTable(rows, { indent: 2, notes, width: 34 }).split('\n'), [
    '  NAME   PATH',
    '  web-1  relayed',
    '      no direct way to web-1',
    '      (refused); the anchor relays',
    '  db-1',
  ]);
});

test('a live name whose port is not open to gateways here is no tick', () => {
  const publication = { name: 'shop', service: 'web', state: 'live', error: null };
  const service = { name: 'web', target: '127.0.0.1:3000', exposed: true };
  const detail = { id: 'd1', name: 'shop', services: [service], publications: [publication] } as unknown;
  const shown = (exposed: { target: string; public: boolean; deployment: string }[]): string[] =>
    withConsent(detail as DeploymentDetail, exposed).map(
      (one) => `${publicationMark(one, plain)} ${publicationReason(one, plain)}`,
    );
  const remedy = '! not exposed to gateways: moat node expose 127.0.0.1:3000 --to shop --public';
  assert.deepEqual(shown([]), [remedy]);
  assert.deepEqual(shown([{ deployment: 'd1', target: '127.0.0.1:3000', public: false }]), [remedy]);
  assert.deepEqual(shown([{ deployment: 'd2', target: '127.0.0.1:3000', public: true }]), [remedy]);
  assert.deepEqual(shown([{ deployment: 'd1', target: '127.0.0.1:3000', public: true }]), ['✓ ']);
});

test('durations are read and written', () => {
  assert.equal(parseDuration('1h'), 3_600_000);
  assert.equal(parseDuration('500ms'), 500);
  for (const wrong of ['', '1', 'h', '-1s', '1.5h', '1 h', '1y']) {
    assert.throws(() => parseDuration(wrong), { code: 'DURATION_INVALID' });
  }
  assert.deepEqual([14, 1900, 180_000, 11_520_000, 187_200_000].map(formatDuration), [
    '14 ms',
    '1.9 s',
    '3 min',
    '3h12m',
    '2d4h',
  ]);
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        parseDuration(text);
      } catch (error) {
        assert.equal((error as MoatError).code, 'DURATION_INVALID');
      }
    }),
  );
  assert.equal(shorten('12D3KooWAbcdefgh7Qxy'), '12D3KooWAb…7Qxy');
});

test('progress is silent for 300 ms and tells the time from 10 s on', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const stderr = new PassThrough().setEncoding('utf8');
  const progress = createProgress({ stderr, now: () => Date.now() } as unknown as Io, { quiet: false });
  const work = Promise.withResolvers<string>();
  const waiting = progress.during('waiting for a keeper', work.promise);
  t.mock.timers.tick(299);
  assert.equal(stderr.read(), null);
  t.mock.timers.tick(1);
  assert.equal(stderr.read(), '… waiting for a keeper\n');
  t.mock.timers.tick(9700);
  assert.equal(stderr.read(), '… waiting for a keeper (10.0 s)\n');
  work.resolve('done');
  assert.equal(await waiting, 'done');
  t.mock.timers.tick(100_000);
  assert.equal(stderr.read(), null);
});

test('a gateway with two keys is one line where both say the same', () => {
  const live = ['✓', 'shop', 'live'];
  assert.deepEqual(distinctRows([live, [...live], ['!', 'shop', 'unreachable']]), [live, ['!', 'shop', 'unreachable']]);
});
