import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generations } from '../src/generations.ts';

test('what is used stays, what is not is forgotten after as much again', () => {
  const texts = new Generations<number>(3);
  for (const [i, text] of ['a', 'b', 'c', 'd'].entries()) texts.keep(text, i);
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].map((text) => texts.get(text)),
    [0, 1, 2, 3],
  );
  // Asking made these two young again, and the others old.
  texts.keep('e', 4);
  assert.equal(texts.get('d'), 3);
  for (let i = 0; i < 6; i++) texts.keep(`new ${i}`, i);
  assert.deepEqual([texts.get('a'), texts.get('e'), texts.get('new 5')], [undefined, undefined, 5]);
});
