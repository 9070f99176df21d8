/** The benchmark's arithmetic: order of rounds, pairing of ratios, the gate, what it prints. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { barChart } from './bench/chart.ts';
import { LoadGate } from './bench/gate.ts';
import { jsonReport, tableReport } from './bench/report.ts';
import { orderOf, rowsOf, runRounds } from './bench/rounds.ts';
import { scenarios } from './bench/scenarios.ts';
import { quantile } from './bench/statistics.ts';

const signal = new AbortController().signal;
const openGate = {
  run: async <T>(_: string, measure: () => Promise<T>) => ({ value: await measure(), otherCores: 0, repeated: 0 }),
};

test('every subject is first in its turn, and no round leaves one out', () => {
  const subjects = ['a', 'b', 'c'];
  const orders = [0, 1, 2].map((round) => orderOf(subjects, round));
  assert.deepEqual(
    orders.map(([first]) => first),
    ['a', 'b', 'c'],
  );
  for (const order of orders) assert.deepEqual(order.toSorted(), subjects);
});

test('a ratio is the median of the ratios of each round, not the ratio of medians', () => {
  const rows = rowsOf(
    's',
    new Map([
      ['moat', [{ rps: 10 }, { rps: 40 }, { rps: 30 }]],
      ['nginx', [{ rps: 10 }, { rps: 20 }, { rps: 60 }]],
    ]),
  );
  assert.deepEqual(rows, [
    { scenario: 's', subject: 'moat', metric: 'rps', median: 30, min: 10, max: 40 },
    { scenario: 's', subject: 'nginx', metric: 'rps', median: 20, min: 10, max: 60, moatRatio: 1 },
  ]);
});

test('a subject that fails is out of the scenario with its reason, and the others go on', async () => {
  const asked: string[] = [];
  const result = await runRounds({
    scenario: 's',
    subjects: ['moat', 'broken'],
    rounds: 3,
    gate: openGate,
    signal,
    say: () => undefined,
    measure: async (subject) => {
      asked.push(subject);
      if (subject === 'broken' && asked.length > 2) throw new Error('gone');
      return { rps: asked.length };
    },
  });
  assert.deepEqual([...result.failed], [['broken', 'gone']]);
  assert.equal(result.values.get('moat')?.length, 3);
  assert.equal(asked.filter((subject) => subject === 'broken').length, 2);
});

test('an interrupted run ends with the interruption, not with a failed subject', async () => {
  const controller = new AbortController();
  const plan = {
    scenario: 's',
    subjects: ['moat'],
    rounds: 1,
    gate: openGate,
    signal: controller.signal,
    say: () => undefined,
    measure: () => {
      controller.abort(new Error('interrupted'));
      return Promise.reject(new Error('the load was ended'));
    },
  };
  await assert.rejects(runRounds(plan), /interrupted/);
});

test('the gate repeats what others disturbed, once, and keeps the quieter', async () => {
  let others = 0;
  const said: string[] = [];
  const gate = new LoadGate({ patienceSeconds: 0.001, signal, say: (line) => said.push(line), others: () => others });
  const used = [1000, 0];
  let runs = 0;
  const gated = await gate.run('s', async () => {
    others += used[runs] ?? 0;
    return ++runs;
  });
  assert.equal(gated.repeated, 1);
  assert.equal(gated.value, 2);
  assert.match(said.join('\n'), /once more/);
});

test('JSON, table and chart say the same', () => {
  const values = new Map([
    ['moat', [{ rps: 200 }]],
    ['nginx & co', [{ rps: 100 }]],
  ]);
  const round = {
    scenario: 'e2e/https1/1k/c1',
    values,
    failed: new Map([['tinc', 'no\nroute']]),
    otherCores: 0.5,
    repeated: 1,
  };
  const report = {
    rows: rowsOf(round.scenario, values),
    scenarios: [round],
    skipped: ['nebula: not installed'],
    broken: [],
  };
  const json = JSON.parse(jsonReport(report)) as { kind: string; version: number; rows: unknown[] };
  assert.equal(json.kind, 'bench');
  assert.equal(json.version, 1);
  assert.deepEqual(json.rows, report.rows);
  const table = tableReport(report);
  for (const part of ['| nginx & co | 100 (100 – 100) ×2.00 |', 'tinc failed: no', 'skipped nebula: not installed']) {
    assert.ok(table.includes(part), part);
  }
  const chart = barChart('a < b', [{ label: 'nginx & co', value: 1, min: 0.5, max: 2 }]);
  assert.match(chart, /nginx &amp; co/);
  assert.match(chart, /a &lt; b/);
});

test('quantiles lie between neighbours linearly', () => {
  assert.equal(quantile([3, 1, 2], 0.5), 2);
  assert.equal(quantile([1, 2], 0.5), 1.5);
  assert.equal(quantile([0, 10], 0.99), 9.9);
});

test('scenarios are named as other programs expect, each once', () => {
  const names = scenarios.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  const request = /^(e2e|gateway|l4)\/(https1|http1|h2|ws|tcp)\/(0\.9k|1k|64k|1m|handshake|stream)\/c\d+$/;
  const growth = /^growth\/[a-z0-9]+(\/[a-z0-9]+)+$/;
  for (const name of names) assert.match(name, name.startsWith('growth/') ? growth : request);
});
