/**
 * Whatever the front end accepts, Node's own strict parser accepts too, with the same ends: no bytes can be one request
 * to us and two to a service. FUZZ_SEED=<number> repeats a run, MOAT_TEST=full makes it a million cases.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { after, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import { HOST } from '../edge-under-test.ts';
import { readCorpus } from './corpus.ts';
import { NodeReader, disagreement, readByGateway, type Reading } from './differential/readings.ts';
import { Tape, cutsOf, streamOf } from './differential/stream.ts';

const SEED = Number(process.env['FUZZ_SEED'] ?? randomInt(2 ** 31));
const CASES = process.env['MOAT_TEST'] === 'full' ? 1_000_000 : 20_000;
/** Cases between two turns of the loop. */
const SLICE = 1_000;

const corpus = readCorpus(HOST);
const seeds = corpus.map(({ bytes }) => bytes);
const node = new NodeReader();
const counts = { cases: 0, messages: 0, refused: 0, whole: 0 };
after(() => process.stdout.write(`seed ${SEED}: ${JSON.stringify(counts)}\n`));

/**
 * Node refuses a tab behind a coding or a length, where RFC 9110 §5.5 has it as good as a space. With spaces in the place
 * of tabs the gateway must read the same, and Node must agree.
 */
function disagreementBesideTabs(bytes: Buffer, ours: Reading): string | undefined {
  const spaced = bytes
    .toString('latin1')
    .replace(
      /^((?:transfer-encoding|content-length):)([ \t]*)([^ \t\r\n]*)([ \t]*)\r$/gim,
      (_line, name: string, before: string, value: string, behind: string) =>
        [name, ' '.repeat(before.length), value, ' '.repeat(behind.length), '\r'].join(''),
    );
  const buffer = Buffer.from(spaced, 'latin1');
  const again = readByGateway([buffer]);
  const endsOf = ({ messages, refusal }: Reading): unknown => [
    messages.map(({ body, whole }) => [body.length, whole]),
    refusal,
  ];
  assert.deepEqual(endsOf(again), endsOf(ours));
  return disagreement(again, node.read(buffer));
}

/** Reads `bytes` by both, and by ours in pieces. */
function compare(bytes: Buffer, cuts: readonly number[]): void {
  const ours = readByGateway([bytes]);
  const theirs = node.read(bytes);
  counts.cases += 1;
  counts.messages += ours.messages.length;
  counts.whole += ours.messages.filter(({ whole }) => whole).length;
  counts.refused += ours.refusal === undefined ? 0 : 1;
  const wrong = disagreement(ours, theirs) && disagreementBesideTabs(bytes, ours);
  assert.ok(
    wrong === undefined,
    `${wrong}\n${JSON.stringify(bytes.toString('latin1'))}\n${JSON.stringify({ ours, theirs })}`,
  );
  const at = [0, ...cuts, bytes.length];
  const pieces = at.slice(1).map((to, i) => bytes.subarray(at[i], to));
  const again = readByGateway(pieces);
  // What comes in pieces may be refused for another reason, which stands earlier in the bytes.
  assert.deepEqual(again.messages, ours.messages, `cut at ${cuts.join()}: ${JSON.stringify(bytes.toString('latin1'))}`);
  assert.equal(again.refusal === undefined, ours.refusal === undefined);
}

test('every saved payload, cut at every byte', () => {
  assert.ok(corpus.length >= 100, String(corpus.length));
  for (const { name, bytes, reaches } of corpus) {
    const whole = Buffer.from(bytes, 'latin1');
    const { messages } = readByGateway([whole]);
    const accepted = messages.filter((message) => message.whole).map(({ method, target }) => `${method} ${target}`);
    assert.deepEqual(accepted, reaches, name);
    const step = Math.ceil(whole.length / 400);
    for (let at = 0; at <= whole.length; at += step) compare(whole, [at]);
    if (whole.length <= 2_000) compare(whole, Array.from(whole.keys()).slice(1));
  }
});

test('streams made from a grammar and broken', { timeout: 1_100_000 }, async () => {
  const tape = fc.noBias(fc.array(fc.nat({ max: 0xffff }), { minLength: 40, maxLength: 160, size: 'max' }));
  for (let slice = 0; slice < CASES / SLICE; slice += 1) {
    fc.assert(
      fc.property(tape, (numbers) => {
        const from = new Tape(numbers);
        const bytes = Buffer.from(streamOf(from, seeds), 'latin1');
        compare(bytes, cutsOf(from, bytes.length));
      }),
      { numRuns: SLICE, seed: SEED + slice },
    );
    await turn();
  }
  assert.ok(counts.whole > CASES / 4, 'enough of it is accepted to mean something');
  assert.ok(counts.refused > CASES / 10, 'enough of it is refused to mean something');
});
