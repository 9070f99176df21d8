import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { isMoatError } from '@moat/core';

import { LINK_ERROR_CODES } from '../src/errors.ts';
import { ENDS, FRAME, FrameDecoder, HEADER_BYTES, MAX_DATA_BYTES, isCode, type FrameType } from '../src/frame.ts';
import { FrameWriter } from '../src/frame-writer.ts';
import { turns } from './recorder.ts';

interface Frame {
  readonly type: FrameType;
  readonly id: number;
  readonly payload: Buffer;
}

/** Collects frames; pieces of one `data` frame are joined. */
function collector(): { readonly frames: Frame[]; readonly decoder: FrameDecoder } {
  const frames: Frame[] = [];
  const decoder: FrameDecoder = new FrameDecoder({
    frame: (type, id, payload) => void frames.push({ type, id, payload: Buffer.from(payload) }),
    data: (id, piece) => {
      assert.ok(piece.length > 0);
      frames.push({ type: FRAME.data, id, payload: Buffer.from(piece) });
    },
  });
  return { frames, decoder };
}

function joinData(frames: readonly Frame[]): Frame[] {
  const joined: Frame[] = [];
  for (const frame of frames) {
    const last = joined.at(-1);
    if (frame.type === FRAME.data && last?.type === FRAME.data && last.id === frame.id) {
      joined[joined.length - 1] = { ...last, payload: Buffer.concat([last.payload, frame.payload]) };
    } else joined.push(frame);
  }
  return joined;
}

const id = fc.integer({ min: 1, max: 2 ** 32 - 1 });
const payload = (least: number, most: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ minLength: least, maxLength: most }).map((bytes) => Buffer.from(bytes));
const plain = { noNullPrototype: true } as const;
const anyFrame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({ type: fc.constant(FRAME.open), id, payload: payload(4, 300) }, plain),
  fc.record({ type: fc.constant(FRAME.head), id, payload: payload(0, 300) }, plain),
  fc.record({ type: fc.constant(FRAME.data), id, payload: payload(1, 5000) }, plain),
  fc.record({ type: fc.constant(FRAME.end), id, payload: payload(0, 300) }, plain),
  fc.record({ type: fc.constant(FRAME.reset), id, payload: payload(1, 48) }, plain),
  fc.record({ type: fc.constant(FRAME.window), id: fc.oneof(id, fc.constant(0)), payload: payload(4, 4) }, plain),
  fc.record({ type: fc.constant(FRAME.ping), id: fc.constant(0), payload: payload(9, 9) }, plain),
  fc.record({ type: fc.constant(FRAME.moved), id: fc.constant(0), payload: payload(25, 25) }, plain),
  fc.record({ type: fc.constant(FRAME.goingAway), id: fc.constant(0), payload: payload(1, 49) }, plain),
);

function write(frames: readonly Frame[]): Buffer {
  const out: Buffer[] = [];
  const writer = new FrameWriter((bytes) => void out.push(bytes));
  for (const { type, id, payload } of frames) {
    if (type === FRAME.end && payload.length === 0) writer.end(id);
    else writer.frame(type, id, payload);
  }
  writer.flush();
  return Buffer.concat(out);
}

describe('frames', () => {
  test('a vector', () => {
    assert.equal(
      write([{ type: FRAME.data, id: 0x01020304, payload: Buffer.from('hi') }]).toString('hex'),
      '03000002010203046869',
    );
  });

  test('round trip in any split', () => {
    fc.assert(
      fc.property(
        fc.array(anyFrame, { maxLength: 20 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 700 })),
        (sent, cuts) => {
          const bytes = write(sent);
          const { frames, decoder } = collector();
          for (let at = 0; at < bytes.length;) {
            const { value: size } = cuts.next();
            decoder.push(bytes.subarray(at, at + Number(size)));
            at += Number(size);
          }
          assert.ok(decoder.idle);
          assert.deepEqual(joinData(frames), joinData(sent));
        },
      ),
    );
  });

  test('random bytes end in a coded error or are frames, in any split alike', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: 1, max: 50 }), (bytes, size) => {
        const outcomes = [bytes.length, size].map((cut) => {
          const { frames, decoder } = collector();
          try {
            for (let at = 0; at < bytes.length; at += cut) decoder.push(Buffer.from(bytes.subarray(at, at + cut)));
          } catch (error) {
            assert.ok(isMoatError(error));
            assert.ok((LINK_ERROR_CODES as readonly string[]).includes(error.code));
            return { code: error.code, frames: joinData(frames) };
          }
          return { code: undefined, frames: joinData(frames) };
        });
        assert.deepEqual(outcomes[0], outcomes[1]);
      }),
      { numRuns: 2000 },
    );
  });

  test('a stream that ends with its last frame needs no other', () => {
    const sent = [
      { type: FRAME.open, id: 1, payload: Buffer.alloc(4) },
      { type: FRAME.end, id: 1, payload: Buffer.alloc(0) },
      { type: FRAME.head, id: 2, payload: Buffer.alloc(0) },
      { type: FRAME.end, id: 2, payload: Buffer.alloc(0) },
      { type: FRAME.head, id: 4, payload: Buffer.alloc(1) },
      { type: FRAME.data, id: 4, payload: Buffer.from('hi') },
      { type: FRAME.end, id: 4, payload: Buffer.alloc(0) },
      // Another frame came between, or the stream's last one has left.
      { type: FRAME.data, id: 6, payload: Buffer.from('hi') },
      { type: FRAME.window, id: 6, payload: Buffer.from([0, 0, 0, 1]) },
      { type: FRAME.end, id: 6, payload: Buffer.alloc(0) },
      { type: FRAME.end, id: 8, payload: Buffer.alloc(0) },
    ];
    const bytes = write(sent);
    assert.equal(
      bytes.toString('hex'),
      '810000040000000100000000' +
        '8200000000000002' +
        '020000010000000400' +
        '83000002000000046869' +
        '03000002000000066869' +
        '060000040000000600000001' +
        '0400000000000006' +
        '0400000000000008',
    );
    for (const size of [1, 3, bytes.length]) {
      const { frames, decoder } = collector();
      for (let at = 0; at < bytes.length; at += size) decoder.push(bytes.subarray(at, at + size));
      assert.deepEqual(joinData(frames), sent);
    }
  });

  test('what has left says no more that it was the last', () => {
    const out: Buffer[] = [];
    const writer = new FrameWriter((bytes) => void out.push(bytes));
    writer.frame(FRAME.data, 5, Buffer.from('x'));
    writer.flush();
    writer.end(5);
    writer.flush();
    assert.equal(Buffer.concat(out).toString('hex'), '0300000100000005780400000000000005');
  });

  test('small pieces of one stream travel in one frame while nothing comes between', () => {
    const out: Buffer[] = [];
    const writer = new FrameWriter((bytes) => void out.push(bytes));
    const say = (id: number, text: string): number => writer.data(id, Buffer.from(text), 0, text.length);
    for (const text of ['a', 'bc', 'd']) assert.equal(say(1, text), text.length);
    say(3, 'x');
    say(1, 'e');
    writer.end(1);
    say(3, 'y');
    writer.flush();
    say(3, 'z');
    writer.flush();
    assert.equal(writer.writtenBytes, Buffer.concat(out).length);
    const { frames, decoder } = collector();
    decoder.push(Buffer.concat(out));
    assert.deepEqual(
      frames.map((frame) => `${frame.type} ${frame.id} ${frame.payload.toString()}`),
      ['3 1 abcd', '3 3 x', '3 1 e', '4 1 ', '3 3 y', '3 3 z'],
    );
  });

  test('frames that grew are frames that the other side takes', () => {
    const { frames, decoder } = collector();
    const writer = new FrameWriter((bytes) => decoder.push(bytes));
    const piece = Buffer.alloc(2000, 'x');
    for (let i = 0; i < 200; i++) writer.data(1, piece, 0, piece.length);
    writer.end(1);
    writer.flush();
    assert.equal(joinData(frames)[0]?.payload.length, 200 * piece.length);
    assert.equal(frames.at(-1)?.type, FRAME.end);
  });

  test('every type byte that is not listed is refused', () => {
    const listed = new Set<number>(Object.values(FRAME));
    for (const type of [FRAME.open, FRAME.head, FRAME.data]) listed.add(type | ENDS);
    for (let type = 0; type < 256; type++) {
      if (listed.has(type)) continue;
      const { decoder } = collector();
      assert.throws(() => decoder.push(Buffer.from([type, 0, 0, 0, 0, 0, 0, 1])), { code: 'FRAME_UNKNOWN' });
    }
  });

  test('lengths are bounded before anything is kept', () => {
    for (const type of Object.values(FRAME)) {
      const { decoder } = collector();
      const header = Buffer.from([type, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
      assert.throws(() => decoder.push(header), { code: 'FRAME_INVALID' });
    }
  });

  test('an id where none belongs, and none where one belongs', () => {
    for (const bytes of ['0700000900000001', '0300000100000000', '0200000000000000', '0900000100000007']) {
      assert.throws(() => collector().decoder.push(Buffer.from(bytes, 'hex')), { code: 'FRAME_INVALID' });
    }
  });

  test('codes', () => {
    assert.ok(isCode('GRANT_DENIED'));
    for (const code of ['', 'grant', 'A B', '_A', 'A'.repeat(49), 'A\n']) assert.equal(isCode(code), false);
  });
});

describe('the frame writer', () => {
  test('gives one turn’s frames to the channel at once', async () => {
    const out: Buffer[] = [];
    const writer = new FrameWriter((bytes) => void out.push(bytes));
    for (let i = 1; i <= 100; i++) writer.frame(FRAME.data, i, Buffer.alloc(100, i));
    assert.equal(out.length, 0);
    await turns(2);
    assert.equal(out.length, 1);
    assert.equal(out[0]?.length, 100 * (HEADER_BYTES + 100));
  });

  test('does not keep finished streams back in a long turn', () => {
    const out: Buffer[] = [];
    const writer = new FrameWriter((bytes) => void out.push(bytes));
    const began = performance.now();
    for (let id = 1; out.length === 0; id += 2) {
      writer.frame(FRAME.end, id, Buffer.alloc(0));
      assert.ok(performance.now() - began < 1_000, 'nothing left in a second');
    }
    assert.ok(performance.now() - began >= 0.5);
  });

  test('never writes again to what it gave away', async () => {
    const out: { readonly bytes: Buffer; readonly copy: Buffer }[] = [];
    const writer = new FrameWriter((bytes) => void out.push({ bytes, copy: Buffer.from(bytes) }));
    for (let i = 1; i < 400; i++) {
      writer.frame(FRAME.data, i, Buffer.alloc((i * 977) % 9000, i));
      if (i % 7 === 0) await turns(1);
    }
    writer.flush();
    for (const { bytes, copy } of out) assert.ok(bytes.equals(copy));
  });

  test('uses a slab again only once its channel has taken all of it', () => {
    const waiting: { readonly bytes: Buffer; readonly copy: Buffer; readonly onTaken: (() => void) | undefined }[] = [];
    const slabs = new Set<ArrayBufferLike>();
    const writer = new FrameWriter((bytes, _ofStreams, onTaken) => {
      slabs.add(bytes.buffer);
      waiting.push({ bytes, copy: Buffer.from(bytes), onTaken });
    });
    for (let i = 1; i < 3000; i++) {
      writer.frame(FRAME.data, i, Buffer.alloc((i * 977) % 9000, i));
      if (i % 3 === 0) writer.flush();
      // The channel lags eight writes behind, in order.
      while (waiting.length > 8) {
        const { bytes, copy, onTaken } = waiting.shift() ?? assert.fail();
        assert.ok(bytes.equals(copy));
        onTaken?.();
      }
    }
    assert.ok(slabs.size < 20, `${slabs.size} slabs for 13 MB`);
  });

  test('takes and drops what is written after it was stopped', () => {
    const writer = new FrameWriter(() => assert.fail('sent'));
    writer.stop();
    assert.equal(writer.data(1, Buffer.alloc(100), 0, 100), 100);
  });

  test('cuts a chunk into frames that fit', () => {
    const { frames, decoder } = collector();
    const writer = new FrameWriter((bytes) => decoder.push(bytes));
    const chunk = Buffer.alloc(300_000, 7);
    for (let at = 0; at < chunk.length;) {
      const taken = writer.data(5, chunk, at, chunk.length - at);
      assert.ok(taken > 0 && taken <= MAX_DATA_BYTES);
      at += taken;
    }
    writer.flush();
    assert.deepEqual(joinData(frames), [{ type: FRAME.data, id: 5, payload: chunk }]);
  });

  test('sends nothing after it was stopped', () => {
    const out: Buffer[] = [];
    const writer = new FrameWriter((bytes) => void out.push(bytes));
    writer.frame(FRAME.data, 1, Buffer.from('x'));
    writer.stop();
    writer.frame(FRAME.data, 1, Buffer.from('x'));
    writer.flush();
    assert.equal(out.length, 0);
  });
});
