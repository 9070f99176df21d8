import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalBytes, contractDelta, parseContract, type Contract, type Member } from '@moat/contract';
import { contract } from './deployment.fixture.ts';

/** The contract with members `m-<n>`; those above 1000 have a tag. */
function crowd(numbers: readonly number[], version: number = 0): Contract {
  const members = numbers.map((n): Member => {
    return { name: `m-${n}`, ipv4: `10.77.${n >> 8}.${n & 255}`, tags: n > 1000 ? ['new'] : [] };
  });
  return parseContract({ ...contract, version, members });
}

const hundreds = Array.from({ length: 500 }, (_, i) => i);

test('what is made of an earlier contract and a delta is the later one, byte for byte', () => {
  const numbers = fc.array(fc.integer({ min: 0, max: 1100 }), { minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(numbers, numbers, fc.boolean(), (before, after, isEdit) => {
      const base = crowd(before);
      const next = crowd(isEdit ? [...before.slice(0, 7), ...after.slice(0, 2), ...before.slice(9)] : after, 1);
      const made = parseContract(contractDelta(base, next), base);
      assert.deepEqual(canonicalBytes(made), canonicalBytes(next));
    }),
  );
});

test('one of hundreds that leaves, joins or changes costs a fraction of the whole', () => {
  const base = crowd(hundreds);
  const whole = canonicalBytes(base).length;
  for (const numbers of [hundreds.toSpliced(250, 1), [...hundreds, 501], hundreds.with(250, 1001)]) {
    const next = crowd(numbers, 1);
    const delta = contractDelta(base, next);
    assert.ok(delta.length < whole / 10, `${delta.length} of ${whole}`);
    assert.deepEqual(canonicalBytes(parseContract(delta, base)), canonicalBytes(next));
  }
});

test('a whole contract takes nothing of the earlier one', () => {
  const next = crowd([3, 1, 2], 1);
  assert.deepEqual(parseContract(canonicalBytes(next), crowd(hundreds)), next);
});

test('runs that are no runs, lead out of the earlier contract or repeat it without end are refused', () => {
  const base = crowd(hundreds);
  const withMembers = (members: unknown): unknown => ({ ...contract, members });
  const cases: readonly (readonly [string, unknown])[] = [
    ['nothing of it', withMembers([[500, 10]])],
    ['more than it has', withMembers([[499, 2]])],
    [
      'none',
      withMembers([
        [0, 1],
        [1, 0],
      ]),
    ],
    ['from its end', withMembers([[-3, 2]])],
    ['a fraction', withMembers([[0.5, 1]])],
    ['three numbers', withMembers([[0, 1, 2]])],
    ['text', withMembers([['0', '1']])],
    ['nested', withMembers([[[0, 1]]])],
    ['no list', withMembers({ 0: [0, 1], length: 1 })],
    ['more than a contract may have', withMembers(Array.from({ length: 5 }, () => [0, 500]))],
    ['a mebibyte of runs', canonicalBytes(withMembers(Array.from({ length: 130_000 }, () => [0, 500])))],
    ['JSON in JSON', JSON.stringify(JSON.stringify(withMembers([[0, 1]])))],
    ['no object', [[0, 1]]],
    ['null', null],
  ];
  for (const [what, input] of cases) {
    assert.throws(() => parseContract(input, base), { code: 'CONTRACT_INVALID' }, what);
  }
  assert.throws(() => parseContract(withMembers([[0, 1]])), { code: 'CONTRACT_INVALID' }, 'no earlier one');
});

test('a delta is held to the size of the contract that it makes', () => {
  const tags = Array.from({ length: 16 }, (_, i) => `tag-${i}-${'x'.repeat(48)}`).toSorted();
  const members = Array.from({ length: 900 }, (_, i) => ({ name: `m-${i}`, ipv4: '10.77.1.1', tags }));
  const base = parseContract({ ...contract, members: members.slice(0, 700) });
  assert.throws(
    () =>
      parseContract(
        {
          ...contract,
          members: [
            [0, 700],
            [0, 700],
          ],
        },
        base,
      ),
    {
      code: 'CONTRACT_INVALID',
      reason: 'it is larger than 1 MiB',
    },
  );
});

test('members that come by runs and beside them are judged together', () => {
  const base = crowd(hundreds);
  const wrong = { name: 'No Label', ipv4: '10.77.9.9', tags: [] };
  assert.throws(() => parseContract({ ...contract, members: [[0, 499], wrong] }, base), {
    code: 'CONTRACT_INVALID',
    details: { path: 'members[499].name' },
  });
});
