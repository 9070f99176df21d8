/** A peer that was let in and does not keep to the protocol. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import fc from 'fast-check';

import { errorCode, silentLogger, type ByteChannel, type LinkStream } from '@moat/core';
import { createChannelPair, createManualClock, type ManualClock } from '@moat/testkit';

import { FRAME, FrameDecoder, type FrameType } from '../src/frame.ts';
import { FrameWriter } from '../src/frame-writer.ts';
import type { SessionLimits } from '../src/limits.ts';
import { encodeOpen } from '../src/open.ts';
import { Session } from '../src/session.ts';
import { Recorder, turns } from './recorder.ts';

interface Seen {
  readonly type: FrameType;
  readonly id: number;
  readonly payload: string;
}

interface Attack {
  readonly session: Session;
  readonly clock: ManualClock;
  readonly channel: ByteChannel;
  /** Frames the session sent. */
  readonly seen: Seen[];
  readonly streams: Recorder[];
  onStream: (stream: LinkStream) => void;
  send(type: FrameType, id: number, payload: Uint8Array): void;
  flush(): Promise<void>;
  sever(): void;
}

const tcp = { deployment: 'q7f3aaaaaaaaaaaaaaaaaaaaaa', service: 'db', kind: 'tcp' } as const;
const packets = { deployment: tcp.deployment, service: '', kind: 'packets' } as const;
const open = encodeOpen(tcp, undefined);
const text = (value: string): Buffer => Buffer.from(value, 'latin1');
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

/** The session is the acceptor; the attacker dials, so its streams are odd. */
function attack(limits: Partial<SessionLimits> = {}): Attack {
  const pair = createChannelPair();
  const clock = createManualClock();
  const seen: Seen[] = [];
  const streams: Recorder[] = [];
  const session = new Session(
    { channel: pair.a, clock, logger: silentLogger, accept: (stream) => attacker.onStream(stream) },
    { peer: '12D3KooWMallory', path: 'direct', dialer: false, limits },
  );
  const decoder = new FrameDecoder({
    frame: (type, id, payload) => void seen.push({ type, id, payload: payload.toString('latin1') }),
    data: (id, piece) => void seen.push({ type: FRAME.data, id, payload: piece.toString('latin1') }),
  });
  pair.b.onData = (chunk) => decoder.push(chunk as Buffer);
  const writer = new FrameWriter((bytes) => void pair.b.write(bytes));
  const attacker: Attack = {
    session,
    clock,
    channel: pair.b,
    seen,
    streams,
    onStream(stream) {
      const recorder = new Recorder(stream);
      stream.writeHead({ connected: true });
      streams.push(recorder);
    },
    send: (type, id, payload) => writer.frame(type, id, payload),
    async flush() {
      writer.flush();
      await turns(6);
    },
    sever: () => pair.sever(),
  };
  return attacker;
}

/** The code the link ended with, here and as told to the peer. */
function ending({ session, seen }: Attack): { readonly here: string | undefined; readonly told: string | undefined } {
  const last = seen.findLast((frame) => frame.type === FRAME.goingAway);
  return {
    here: session.closed.aborted ? errorCode(session.closed.reason) : undefined,
    told: last?.payload.slice(1),
  };
}

describe('a link ends with a code', () => {
  const cases: readonly (readonly [string, string, (peer: Attack) => void])[] = [
    ['an unlisted frame', 'FRAME_UNKNOWN', (peer) => peer.channel.write(Buffer.from('6300000000000001', 'hex'))],
    ['an open with our own parity', 'FRAME_INVALID', (peer) => peer.send(FRAME.open, 2, open)],
    [
      'an open with an old id',
      'FRAME_INVALID',
      (peer) => {
        peer.send(FRAME.open, 7, open);
        peer.send(FRAME.open, 5, open);
      },
    ],
    ['a malformed open', 'FRAME_INVALID', (peer) => peer.send(FRAME.open, 1, Buffer.alloc(40, 1))],
    [
      'packets for a service',
      'FRAME_INVALID',
      (peer) => peer.send(FRAME.open, 1, Buffer.concat([Buffer.of(3), open.subarray(1)])),
    ],
    [
      'packets with an arrival',
      'FRAME_INVALID',
      (peer) => peer.send(FRAME.open, 1, Buffer.concat([encodeOpen(packets, undefined), Buffer.alloc(7)])),
    ],
    ['data of a stream never opened', 'FRAME_INVALID', (peer) => peer.send(FRAME.data, 1, text('x'))],
    ['a reset of a stream never opened', 'FRAME_INVALID', (peer) => peer.send(FRAME.reset, 2, text('GONE'))],
    [
      'a code that is no code',
      'FRAME_INVALID',
      (peer) => {
        peer.send(FRAME.open, 1, open);
        peer.send(FRAME.reset, 1, text('gone\n'));
      },
    ],
    [
      'a head from the opener',
      'FRAME_INVALID',
      (peer) => {
        peer.send(FRAME.open, 1, open);
        peer.send(FRAME.head, 1, Buffer.alloc(0));
      },
    ],
    [
      'data after the end',
      'FRAME_INVALID',
      (peer) => {
        peer.send(FRAME.open, 1, open);
        peer.send(FRAME.end, 1, Buffer.alloc(0));
        peer.send(FRAME.data, 1, text('x'));
      },
    ],
    [
      'trailers on tcp',
      'FRAME_INVALID',
      (peer) => {
        peer.send(FRAME.open, 1, open);
        peer.send(FRAME.end, 1, Buffer.from('00010001780000', 'hex'));
      },
    ],
    ['credit of nothing', 'FRAME_INVALID', (peer) => peer.send(FRAME.window, 0, u32(0))],
    ['impossible credit', 'FRAME_INVALID', (peer) => peer.send(FRAME.window, 0, u32(0xffff_ffff))],
    ['a ping that is neither', 'FRAME_INVALID', (peer) => peer.send(FRAME.ping, 0, Buffer.alloc(9, 2))],
    ['a move nobody agreed on', 'FRAME_INVALID', (peer) => peer.send(FRAME.moved, 0, Buffer.alloc(25))],
    [
      'more data than the stream’s credit',
      'CREDIT_EXCEEDED',
      (peer) => {
        peer.onStream = (stream) => {
          const recorder = new Recorder(stream);
          stream.pause();
          void recorder.closed;
        };
        peer.send(FRAME.open, 1, open);
        for (let i = 0; i < 3; i++) peer.send(FRAME.data, 1, Buffer.alloc(60_000));
      },
    ],
    [
      'more data than the link’s credit, on streams that are over',
      'CREDIT_EXCEEDED',
      (peer) => {
        peer.onStream = (stream) => stream.reset('GRANT_DENIED');
        peer.send(FRAME.open, 1, open);
        peer.send(FRAME.data, 1, Buffer.alloc(60_000));
        // The link's credit is 50 kB in this test.
      },
    ],
    [
      'an open after it said that it leaves',
      'FRAME_INVALID',
      (peer) => {
        peer.send(FRAME.open, 1, open);
        peer.send(FRAME.goingAway, 0, Buffer.of(0));
        peer.send(FRAME.open, 3, open);
      },
    ],
  ];
  for (const [name, code, misbehave] of cases) {
    test(name, async () => {
      const peer = attack(code === 'CREDIT_EXCEEDED' && name.includes('over') ? { linkWindowBytes: 50_000 } : {});
      misbehave(peer);
      await peer.flush();
      assert.deepEqual(ending(peer), { here: code, told: code });
      for (const recorder of peer.streams) assert.equal(recorder.closes, 1);
    });
  }

  test('random bytes never throw and never leave a stream open', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { maxLength: 5 }), async (chunks) => {
        const peer = attack();
        peer.send(FRAME.open, 1, open);
        await peer.flush();
        for (const chunk of chunks) peer.channel.write(Buffer.from(chunk));
        peer.channel.end();
        await turns(8);
        assert.ok(peer.session.closed.aborted);
        assert.equal(peer.session.openStreams, 0);
        for (const recorder of peer.streams) assert.equal(recorder.closes, 1);
      }),
      { numRuns: 200 },
    );
  });
});

test('an open of an unknown kind is refused alone', async () => {
  const peer = attack();
  peer.send(FRAME.open, 1, Buffer.concat([Buffer.of(9), Buffer.alloc(40)]));
  peer.send(FRAME.open, 3, open);
  await peer.flush();
  assert.deepEqual(peer.seen[0], { type: FRAME.reset, id: 1, payload: 'KIND_UNKNOWN' });
  assert.equal(peer.session.openStreams, 1);
  assert.equal(ending(peer).here, undefined);
});

describe('bounds of a link', () => {
  test('streams beyond the limit are reset, the others go on', async () => {
    const peer = attack({ streams: 10 });
    for (let i = 0; i < 15; i++) peer.send(FRAME.open, 1 + 2 * i, open);
    await peer.flush();
    assert.equal(peer.session.openStreams, 10);
    const resets = peer.seen.filter((frame) => frame.type === FRAME.reset);
    assert.equal(resets.length, 5);
    assert.ok(resets.every((frame) => frame.payload === 'STREAM_LIMIT'));
    assert.equal(ending(peer).here, undefined);
  });

  test('a malformed request head costs its stream, not the link', async () => {
    const peer = attack();
    const bytes = Buffer.concat([open, Buffer.from('junk')]);
    bytes[0] = 2;
    peer.send(FRAME.open, 1, bytes);
    await peer.flush();
    assert.deepEqual(
      peer.seen.map(({ type, id, payload }) => ({ type, id, payload })),
      [{ type: FRAME.reset, id: 1, payload: 'HEAD_INVALID' }],
    );
    assert.equal(ending(peer).here, undefined);
  });

  test('opens faster than the rate are reset', async () => {
    const peer = attack({ opens: { perSecond: 10, burst: 5 } });
    for (let i = 0; i < 8; i++) peer.send(FRAME.open, 1 + 2 * i, open);
    await peer.flush();
    assert.equal(peer.streams.length, 5);
    peer.clock.advance(200);
    for (let i = 8; i < 12; i++) peer.send(FRAME.open, 1 + 2 * i, open);
    await peer.flush();
    assert.equal(peer.streams.length, 7);
  });

  test('opening and resetting in a loop ends the link', async () => {
    const peer = attack({ resets: { perSecond: 10, burst: 100 } });
    for (let i = 0; i < 200; i++) {
      peer.send(FRAME.open, 1 + 2 * i, open);
      peer.send(FRAME.reset, 1 + 2 * i, text('GONE'));
    }
    await peer.flush();
    assert.equal(ending(peer).here, 'OPEN_RATE');
  });

  test('a peer that asks and never reads is cut off', async () => {
    const peer = attack({ backlogBytes: 100_000 });
    peer.channel.pause();
    for (let i = 0; i < 100_000; i++) peer.send(FRAME.ping, 0, Buffer.alloc(9));
    await peer.flush();
    assert.equal(ending(peer).here, 'LINK_BACKLOG');
  });

  test('paused readers hold a bounded number of bytes together; the longest loses', async () => {
    const peer = attack({ heldBytes: 250_000 });
    peer.onStream = (stream) => {
      const recorder = new Recorder(stream);
      stream.writeHead({ connected: true });
      stream.pause();
      peer.streams.push(recorder);
    };
    for (let i = 0; i < 4; i++) {
      peer.send(FRAME.open, 1 + 2 * i, open);
      peer.send(FRAME.data, 1 + 2 * i, Buffer.alloc(60_000));
      peer.send(FRAME.data, 1 + 2 * i, Buffer.alloc(40_000));
    }
    await peer.flush();
    const codes = await Promise.all(
      peer.streams.map((recorder) => (recorder.closes > 0 ? recorder.closed : Promise.resolve('open'))),
    );
    assert.deepEqual(codes, ['STREAM_STALLED', 'STREAM_STALLED', 'open', 'open']);
    assert.equal(ending(peer).here, undefined);
  });

  test('frames of a stream that was just reset are on their way and harmless', async () => {
    const peer = attack();
    peer.onStream = (stream) => stream.reset('GRANT_DENIED');
    peer.send(FRAME.open, 1, open);
    peer.send(FRAME.data, 1, text('hello'));
    peer.send(FRAME.window, 1, u32(10));
    peer.send(FRAME.end, 1, Buffer.alloc(0));
    await peer.flush();
    assert.equal(ending(peer).here, undefined);
  });
});

describe('a peer that vanished', () => {
  test('is noticed six seconds after it was used', async () => {
    const peer = attack();
    peer.send(FRAME.open, 1, open);
    await peer.flush();
    peer.sever();
    peer.streams[0]?.stream.write(text('anybody?'));
    await turns(3);
    peer.clock.advance(1000);
    peer.clock.advance(1000);
    assert.equal(ending(peer).here, undefined);
    for (let i = 0; i < 5; i++) peer.clock.advance(1000);
    assert.equal(ending(peer).here, 'LINK_DEAD');
    assert.equal(await peer.streams[0]?.closed, 'LINK_DEAD');
  });

  test('is noticed though nothing is said', async () => {
    const peer = attack();
    peer.sever();
    for (let i = 0; i < 21; i++) peer.clock.advance(1000);
    assert.equal(ending(peer).here, 'LINK_DEAD');
    await peer.session.gone;
    assert.equal(peer.clock.pending, 0, 'no timer is left');
  });

  test('is not found dead while it answers, and an idle link says little', async () => {
    const peer = attack();
    let pings = 0;
    for (let i = 0; i < 600; i++) {
      peer.clock.advance(1000);
      await turns(4);
      const asked = peer.seen.splice(0).filter((frame) => frame.type === FRAME.ping);
      pings += asked.length;
      for (const { payload } of asked) peer.send(FRAME.ping, 0, Buffer.concat([Buffer.of(1), text(payload.slice(1))]));
      await peer.flush();
    }
    assert.equal(ending(peer).here, undefined);
    assert.ok(peer.session.rttMs !== undefined);
    assert.ok(pings <= 41, `${pings} pings in ten quiet minutes`);
  });
});
