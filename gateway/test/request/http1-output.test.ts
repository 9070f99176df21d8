/** Every byte in order, and no byte of anybody else, whatever sizes come. */
import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { BUFFER_BYTES, borrow, giveBack } from '../../src/request/chunk-pool.ts';
import { Output } from '../../src/request/http1-output.ts';

/** A socket that takes one write a turn, or all at once. */
class Taker {
  destroyed = false;
  text = '';
  readonly #waiting: (() => void)[] = [];

  write(bytes: Buffer, taken: () => void): boolean {
    // As late as a real one: what is given back too early is overwritten by then.
    this.#waiting.push(() => {
      this.text += bytes.toString('latin1');
      taken();
    });
    return true;
  }

  takeOne(): boolean {
    const next = this.#waiting.shift();
    next?.();
    return next !== undefined;
  }
}

/** Buffers that somebody else used lie in the pool. */
function spoilPool(): void {
  const buffers = Array.from({ length: 8 }, () => borrow().fill('OTHER'));
  for (const buffer of buffers) giveBack(buffer);
}

interface Run {
  readonly taker: Taker;
  readonly output: Output;
  readonly drained: () => number;
}

function start(): Run {
  const taker = new Taker();
  let drained = 0;
  const output = new Output(taker as unknown as Socket, { onWritten: () => undefined, onDrain: () => (drained += 1) });
  return { taker, output, drained: () => drained };
}

async function takeAll({ taker, output }: Run): Promise<void> {
  while (!output.isEmpty) if (!taker.takeOne()) await nextTurn();
}

test('a framing text that does not fit begins the next buffer', async () => {
  for (let missing = 0; missing < 12; missing++) {
    spoilPool();
    const run = start();
    let wanted = '';
    for (const size of [60_000, BUFFER_BYTES - 60_008 - 6 - missing, 100]) {
      const chunk = Buffer.alloc(size, 'a');
      const before = `${size.toString(16)}\r\n`;
      wanted += `${before}${chunk.toString('latin1')}\r\n`;
      run.output.gather(before, chunk, '\r\n');
    }
    await takeAll(run);
    assert.ok(
      run.taker.text === wanted,
      `${missing} bytes before the end: ${run.taker.text.length} of ${wanted.length}`,
    );
  }
});

test('any pieces, taken at any time, leave as they came', async () => {
  const piece = fc.record({
    size: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 140_000 })),
    how: fc.constantFrom('gather', 'gather', 'gather', 'write', 'turn', 'take'),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 24 }), fc.boolean(), async (pieces, flushed) => {
      spoilPool();
      const run = start();
      let wanted = '';
      for (const [i, { size, how }] of pieces.entries()) {
        const chunk = Buffer.alloc(size, String.fromCharCode(97 + (i % 26)));
        const before = `${size.toString(16)}\r\n`;
        if (how === 'turn') await nextTurn();
        else if (how === 'take') run.taker.takeOne();
        else if (how === 'write') run.output.write(before, chunk);
        else run.output.gather(before, chunk, '\r\n');
        if (how === 'write') wanted += `${before}${chunk.toString('latin1')}`;
        else if (how === 'gather') wanted += `${before}${chunk.toString('latin1')}\r\n`;
        // What was given is the caller's again.
        chunk.fill('!');
      }
      const wasBlocked = run.output.isBlocked;
      if (flushed) run.output.flush();
      await takeAll(run);
      assert.ok(run.taker.text === wanted, `${run.taker.text.length} of ${wanted.length}`);
      if (wasBlocked && !flushed) assert.ok(run.drained() > 0);
    }),
    { numRuns: 400 },
  );
});
