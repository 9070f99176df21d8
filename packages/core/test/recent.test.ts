import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Recent } from '@moat/core';

test('gives back what was kept for a text, and never what was kept for another', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 12 }), { maxLength: 300 }), (texts) => {
      const recent = new Recent<string>();
      for (const text of texts) {
        const known = recent.get(text);
        assert.ok(known === undefined || known === `<${text}>`);
        recent.keep(text, `<${text}>`);
        assert.equal(recent.get(text), `<${text}>`);
      }
    }),
  );
});

test('the empty text is one like any other', () => {
  const recent = new Recent<number>();
  assert.equal(recent.get(''), undefined);
  recent.keep('', 1);
  assert.equal(recent.get(''), 1);
});

test('keeps no long text', () => {
  const recent = new Recent<number>();
  recent.keep('x'.repeat(4_097), 1);
  assert.equal(recent.get('x'.repeat(4_097)), undefined);
});

test('keeps more where more places are asked for', () => {
  const kept = (recent: Recent<number>): number => {
    const texts = Array.from({ length: 256 }, (_, index) => `${index} is text ${index * 7919}`);
    for (const [index, text] of texts.entries()) recent.keep(text, index);
    return texts.filter((text) => recent.get(text) !== undefined).length;
  };
  assert.ok(kept(new Recent<number>(1_024)) > 128);
  assert.ok(kept(new Recent<number>(16)) <= 16);
});

test('stays as small as it is, whatever comes', () => {
  const recent = new Recent<number>();
  for (let index = 0; index < 10_000; index++) recent.keep(`text ${index}`, index);
  let kept = 0;
  for (let index = 0; index < 10_000; index++) kept += recent.get(`text ${index}`) === undefined ? 0 : 1;
  assert.ok(kept <= 64, `${kept}`);
});
