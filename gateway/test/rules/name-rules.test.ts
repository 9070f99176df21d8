import assert from 'node:assert/strict';
import { test } from 'node:test';
import { errorCode } from '@moat/core';
import { NameRules } from '../../src/rules/name-rules.ts';

function codeOf(run: () => void): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    return errorCode(error);
  }
}

test('whoever alone sends too much takes nothing from the others', () => {
  const rules = new NameRules(
    { now: () => 0 },
    { rate: { each: { count: 1, perMs: 1_000 }, all: { count: 2, perMs: 1_000 } } },
  );
  assert.equal(
    codeOf(() => rules.enter('192.0.2.1')),
    undefined,
  );
  for (let i = 0; i < 10; i++)
    assert.equal(
      codeOf(() => rules.enter('192.0.2.1')),
      'RATE_LIMITED',
    );
  assert.equal(
    codeOf(() => rules.enter('192.0.2.2')),
    undefined,
  );
  assert.equal(
    codeOf(() => rules.enter('192.0.2.3')),
    'RATE_LIMITED',
  );
});

test('clients of one IPv6 network count as one', () => {
  const rules = new NameRules({ now: () => 0 }, { rate: { each: { count: 1, perMs: 1_000 } } });
  rules.enter('2001:db8::1');
  assert.equal(
    codeOf(() => rules.enter('2001:db8::2')),
    'RATE_LIMITED',
  );
});

test('so many at once, and another when one has left', () => {
  const rules = new NameRules({ now: () => 0 }, { concurrency: 1 });
  rules.enter('192.0.2.1');
  assert.equal(
    codeOf(() => rules.enter('192.0.2.2')),
    'NAME_BUSY',
  );
  rules.leave();
  assert.equal(
    codeOf(() => rules.enter('192.0.2.2')),
    undefined,
  );
});

test('an address that may not come is not counted', () => {
  const rules = new NameRules({ now: () => 0 }, { from: { deny: ['192.0.2.0/24'] }, concurrency: 1 });
  assert.equal(
    codeOf(() => rules.enter('192.0.2.1')),
    'ADDRESS_REFUSED',
  );
  assert.equal(
    codeOf(() => rules.enter('198.51.100.1')),
    undefined,
  );
});

test('rules know themselves again', () => {
  const rules = new NameRules({ now: () => 0 }, { concurrency: 1 });
  assert.ok(rules.are({ concurrency: 1 }));
  assert.ok(!rules.are({ concurrency: 2 }));
});
