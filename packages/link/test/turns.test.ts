import assert from 'node:assert/strict';
import { test } from 'node:test';

import { FRAME } from '../src/frame.ts';
import { FrameWriter } from '../src/frame-writer.ts';
import type { Stream } from '../src/stream.ts';
import { Turns } from '../src/turns.ts';

/** A link with `credit` bytes for all, and streams that send a byte a turn. */
function link(credit: number): {
  readonly turns: Turns;
  readonly taken: string[];
  give: (bytes: number) => void;
  stream: (name: string, waitsForCredit: boolean) => Stream;
} {
  let left = credit;
  const taken: string[] = [];
  const writer = new FrameWriter(() => undefined);
  const turns = new Turns({ writer, isWritable: () => true, hasCredit: () => left > 0 });
  return {
    turns,
    taken,
    give: (bytes) => void (left += bytes),
    stream: (name, waitsForCredit) => {
      const stream = {
        waitsForCredit,
        takeTurn: () => {
          taken.push(name);
          writer.frame(FRAME.data, 1, Buffer.of(1));
          if (waitsForCredit) left -= 1;
          if (waitsForCredit) turns.wait(stream);
          return false;
        },
        drained: () => undefined,
      } as unknown as Stream;
      turns.wait(stream);
      return stream;
    },
  };
}

test('credit by the byte costs a turn a byte, however many streams wait, and goes round', () => {
  const { turns, taken, give, stream } = link(0);
  for (let i = 0; i < 1000; i++) stream(`${i}`, true);
  turns.run();
  assert.deepEqual(taken, []);
  for (let i = 0; i < 5; i++) {
    give(1);
    turns.run();
  }
  assert.deepEqual(taken, ['0', '1', '2', '3', '4']);
});

test('a frame that needs no credit does not wait for it', () => {
  const { turns, taken, stream } = link(0);
  stream('data', true);
  stream('open', false);
  turns.run();
  assert.deepEqual(taken, ['open']);
});

test('who left has no turn', () => {
  const { turns, taken, stream } = link(9);
  turns.forget(stream('gone', true));
  turns.forget(stream('gone', false));
  turns.run();
  assert.deepEqual(taken, []);
});
