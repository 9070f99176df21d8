/** What the traffic's side counts, and what of it is summed. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  addFigures,
  CODE_CLASSES,
  EdgeCounters,
  NO_FIGURES,
  pastFigures,
  PROTOCOLS,
} from '../../src/metrics/figures.ts';

const at = (protocol: (typeof PROTOCOLS)[number], code: (typeof CODE_CLASSES)[number]): number =>
  PROTOCOLS.indexOf(protocol) * CODE_CLASSES.length + CODE_CLASSES.indexOf(code);

test('a request is counted by protocol and class, in its bucket, with its bytes', () => {
  const counters = new EdgeCounters();
  counters.count('1.1', 200, 5, 10, 100);
  counters.count('1.1', 204, 5.1, 0, 0);
  counters.count('2', 503, 20_000, 1, 2);
  counters.count('1.0', 101, 0, 0, 0);
  const { requests, durations, durationSumMs, bytesIn, bytesOut } = counters.figures();
  assert.equal(requests[at('1.1', '2xx')], 2);
  assert.equal(requests[at('2', '5xx')], 1);
  assert.equal(requests[at('1.0', '1xx')], 1);
  assert.deepEqual(durations, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
  assert.deepEqual([durationSumMs, bytesIn, bytesOut], [20_010.1, 11, 102]);
});

test('codes have a bound, and what a member said is none of them', () => {
  const counters = new EdgeCounters();
  counters.countCode('MEMBER_REFUSED/GRANT_DENIED');
  counters.countCode('MEMBER_REFUSED/ANYTHING');
  for (let i = 0; i < 1_000; i++) counters.countCode(`CODE_${i}`);
  const { codes } = counters.figures();
  assert.equal(codes.get('MEMBER_REFUSED'), 2);
  assert.ok(codes.size <= 201);
  assert.equal(codes.get('OTHER'), 801);
});

test('several processes are one sum', () => {
  const [one, two] = [new EdgeCounters(), new EdgeCounters()];
  one.count('1.1', 200, 1, 1, 1);
  two.count('1.1', 200, 1, 1, 1);
  two.countCode('LINK_LOST');
  one.connections = 3;
  const sum = addFigures([one.figures(), two.figures(), NO_FIGURES]);
  assert.equal(sum.requests[at('1.1', '2xx')], 2);
  assert.deepEqual([sum.bytesIn, sum.connections, sum.codes.get('LINK_LOST')], [2, 3, 1]);
  assert.deepEqual(addFigures([]), NO_FIGURES);
  const tunnels = { running: 2, total: 5, bytesIn: 7, bytesOut: 9 };
  const gone = pastFigures(one.figures(tunnels));
  assert.deepEqual(addFigures([gone, two.figures(tunnels)]).tunnels, {
    running: 2,
    total: 10,
    bytesIn: 14,
    bytesOut: 18,
  });
});
