import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import fc from 'fast-check';
import { PacketQueue } from '../../src/plane/ride/packet-queue.ts';
import { PacketReader } from '../../src/plane/ride/packet-reader.ts';

function framed(packet: Uint8Array): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(packet.length);
  return Buffer.concat([length, packet]);
}

test('packets come out as they went in, however the stream is cut', () => {
  const packets = fc.array(fc.uint8Array({ minLength: 1, maxLength: 3000 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(packets, fc.array(fc.integer({ min: 1, max: 4000 }), { minLength: 1 }), (sent, cuts) => {
      const bytes = Buffer.concat(sent.map(framed));
      const got: Buffer[] = [];
      const reader = new PacketReader((packet) => void got.push(Buffer.from(packet)));
      for (let at = 0, i = 0; at < bytes.length; i++) {
        const end = at + (cuts[i % cuts.length] ?? 1);
        reader.push(bytes.subarray(at, end));
        at = end;
      }
      assert.deepEqual(
        got.map((packet) => packet.toString('hex')),
        sent.map((packet) => Buffer.from(packet).toString('hex')),
      );
    }),
  );
});

test('random bytes are packets or a coded error, and never more bytes than came', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), (chunks) => {
      let bytes = 0;
      const reader = new PacketReader((packet) => void (bytes += packet.length + 2));
      try {
        for (const chunk of chunks) reader.push(chunk);
      } catch (error) {
        assert.ok(isMoatError(error, 'PACKETS_INVALID'));
      }
      assert.ok(bytes <= chunks.reduce((sum, { length }) => sum + length, 0));
    }),
  );
});

test('an empty packet and one that no UDP carries are refused', () => {
  for (const length of [0, 65_508, 65_535]) {
    const header = Buffer.alloc(2);
    header.writeUInt16BE(length);
    assert.throws(() => new PacketReader(() => assert.fail()).push(header.subarray(0, 2)), { code: 'PACKETS_INVALID' });
    const cut = new PacketReader(() => assert.fail());
    cut.push(header.subarray(0, 1));
    assert.throws(() => cut.push(Buffer.concat([header.subarray(1), Buffer.alloc(4)])), { code: 'PACKETS_INVALID' });
  }
});

test('a queue keeps the newest 64 packets and 128 KiB', () => {
  const queue = new PacketQueue();
  for (let i = 0; i < 100; i++) queue.push(Uint8Array.of(i));
  assert.equal(queue.dropped, 36);
  assert.deepEqual(queue.shift(), Uint8Array.of(36));
  for (let i = 0; i < 3; i++) queue.push(new Uint8Array(65_507));
  let left = 0;
  while (queue.shift() !== undefined) left += 1;
  assert.ok(queue.isEmpty);
  assert.equal(left, 2);
});
