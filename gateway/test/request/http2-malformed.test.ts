/** Requests that are none (RFC 9113 §§4–8), frame by frame: what each costs, the stream, the connection or an answer. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { FLAG, FRAME, HTTP2_ERROR, Http2Wire, http2Fields, http2Request, uint32 } from '@moat/testkit';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { recording, type Seen } from '../member.ts';

type Fields = readonly (readonly [string, string])[];

/** What a request comes to: a status in the log, the code of RST_STREAM, or the code of GOAWAY. */
type Fate = { readonly status: number } | { readonly reset: number } | { readonly goaway: number };

const HEAD: Fields = [
  [':method', 'GET'],
  [':scheme', 'https'],
  [':path', '/'],
  [':authority', HOST],
];
const PROTOCOL: Fate = { reset: HTTP2_ERROR.protocol };
const BAD: Fate = { status: 400 };

/** The good head with some fields in other words, or without them. */
function head(changes: Readonly<Record<string, string | undefined>>): Fields {
  return HEAD.flatMap(([name, value]): Fields => {
    const changed = name in changes ? changes[name] : value;
    return changed === undefined ? [] : [[name, changed]];
  });
}
const withField = (name: string, value: string): Fields => [...HEAD, [name, value]];

const HEADS: readonly (readonly [string, Fields, Fate])[] = [
  ['a name in upper case', withField('X-A', 'b'), PROTOCOL],
  ['connection', withField('connection', 'close'), PROTOCOL],
  ['keep-alive', withField('keep-alive', 'timeout=5'), PROTOCOL],
  ['proxy-connection', withField('proxy-connection', 'close'), PROTOCOL],
  ['transfer-encoding', withField('transfer-encoding', 'chunked'), PROTOCOL],
  ['upgrade', withField('upgrade', 'websocket'), PROTOCOL],
  ['te: gzip', withField('te', 'gzip'), PROTOCOL],
  ['te: trailers', withField('te', 'trailers'), { status: 200 }],
  ['no method', head({ ':method': undefined }), PROTOCOL],
  ['no scheme', head({ ':scheme': undefined }), PROTOCOL],
  ['no path', head({ ':path': undefined }), PROTOCOL],
  ['an empty path', head({ ':path': '' }), PROTOCOL],
  ['a path without its slash', head({ ':path': 'a' }), PROTOCOL],
  ['a whole URL as path', head({ ':path': `https://${HOST}/` }), PROTOCOL],
  ['a blank in the path', head({ ':path': '/a b' }), PROTOCOL],
  ['a fragment in the path', head({ ':path': '/a#b' }), BAD],
  ['bytes above ASCII in the path', head({ ':path': '/\xe4' }), BAD],
  ['* for GET', head({ ':path': '*' }), PROTOCOL],
  ['a method that is no token', head({ ':method': 'GE T' }), PROTOCOL],
  ['a method nobody knows', head({ ':method': 'FETCH' }), { status: 501 }],
  ['TRACE', head({ ':method': 'TRACE' }), { status: 405 }],
  [
    'CONNECT without a protocol',
    [
      [':method', 'CONNECT'],
      [':authority', HOST],
    ],
    { status: 405 },
  ],
  ['CONNECT with a path', head({ ':method': 'CONNECT' }), PROTOCOL],
  [
    'another protocol than websocket',
    [...head({ ':method': 'CONNECT' }), [':protocol', 'connect-udp']],
    { status: 501 },
  ],
  ['a protocol without CONNECT', [...HEAD, [':protocol', 'websocket']], PROTOCOL],
  ['http as scheme', head({ ':scheme': 'http' }), { status: 421 }],
  ['a scheme that is none', head({ ':scheme': 'h t' }), PROTOCOL],
  ['a pseudo-field of answers', [...HEAD, [':status', '200']], PROTOCOL],
  ['a pseudo-field nobody knows', [...HEAD, [':x', 'y']], PROTOCOL],
  ['a pseudo-field twice', [...HEAD, [':path', '/b']], PROTOCOL],
  ['a pseudo-field behind a field', [['x-a', 'b'], ...HEAD], PROTOCOL],
  ['no authority and no host', head({ ':authority': undefined }), PROTOCOL],
  ['host alone', [...head({ ':authority': undefined }), ['host', HOST]], { status: 200 }],
  ['host that says the same', withField('host', HOST), { status: 200 }],
  ['host that says another', withField('host', 'held.localhost'), BAD],
  ['host twice', [...head({ ':authority': undefined }), ['host', HOST], ['host', HOST]], PROTOCOL],
  ['a user in the authority', head({ ':authority': `me@${HOST}` }), PROTOCOL],
  ['another name than the handshake', head({ ':authority': 'held.localhost' }), { status: 421 }],
  ['an address as authority', head({ ':authority': '127.0.0.1' }), { status: 421 }],
  ['content-length twice', [...HEAD, ['content-length', '0'], ['content-length', '0']], PROTOCOL],
  ['a content-length that is no number', withField('content-length', '+1'), PROTOCOL],
  ['a content-length without a body', withField('content-length', '1'), PROTOCOL],
  ['Expect of something else', withField('expect', 'something'), { status: 417 }],
  ['129 fields', [...HEAD, ...Array.from({ length: 129 }, (_, i) => [`x-${i}`, 'a'] as const)], { status: 431 }],
  ['a head over the limit', withField('x-a', 'a'.repeat(17_000)), { status: 431 }],
  ['a head of any size', withField('x-a', 'a'.repeat(100_000)), { goaway: HTTP2_ERROR.compression }],
];

/** Fields that nghttp2 takes out of a request without a word: they reach nobody. */
const TAKEN_OUT: readonly (readonly [string, string, string])[] = [
  ['an empty name', '', 'b'],
  ['a blank in a name', 'x a', 'b'],
  ['a line end in a value', 'x-a', 'b\r\nx-c: d'],
  ['a zero byte in a value', 'x-a', 'b\0c'],
  ['blanks around a value', 'x-a', ' b '],
  ['a name with _', 'x_forwarded_for', '203.0.113.9'],
  ['a name with .', 'content.length', '5'],
];

interface Row {
  readonly name: string;
  readonly send: (wire: Http2Wire) => void;
  readonly fate: Fate;
}

const GOOD = http2Request(HOST);
const POST = http2Request(HOST, [], { ':method': 'POST' });
const OPEN = FLAG.endHeaders;
const WHOLE = FLAG.endHeaders | FLAG.endStream;
const GOAWAY_PROTOCOL: Fate = { goaway: HTTP2_ERROR.protocol };

const FRAMES: readonly Row[] = [
  {
    name: 'fewer bytes than announced',
    send: (wire) =>
      wire
        .send(FRAME.headers, OPEN, 1, http2Request(HOST, [['content-length', '5']], { ':method': 'POST' }))
        .send(FRAME.data, FLAG.endStream, 1, Buffer.from('four')),
    fate: PROTOCOL,
  },
  {
    name: 'more bytes than announced',
    send: (wire) =>
      wire
        .send(FRAME.headers, OPEN, 1, http2Request(HOST, [['content-length', '3']], { ':method': 'POST' }))
        .send(FRAME.data, 0, 1, Buffer.from('four')),
    fate: { goaway: HTTP2_ERROR.internal },
  },
  {
    name: 'a pseudo-field in trailers',
    send: (wire) =>
      wire.send(FRAME.headers, OPEN, 1, POST).send(FRAME.headers, WHOLE, 1, http2Fields([[':path', '/b']])),
    fate: PROTOCOL,
  },
  {
    name: 'trailers that do not end the stream',
    send: (wire) => wire.send(FRAME.headers, OPEN, 1, POST).send(FRAME.headers, OPEN, 1, http2Fields([['x-a', 'b']])),
    fate: PROTOCOL,
  },
  {
    name: 'trailers that say where the message ends',
    send: (wire) =>
      wire.send(FRAME.headers, OPEN, 1, POST).send(FRAME.headers, WHOLE, 1, http2Fields([['host', 'other']])),
    fate: BAD,
  },
  {
    name: 'DATA on a stream that was never opened',
    send: (wire) => wire.send(FRAME.data, 0, 1, Buffer.from('x')),
    fate: GOAWAY_PROTOCOL,
  },
  {
    name: 'a stream of an even number',
    send: (wire) => wire.send(FRAME.headers, WHOLE, 2, GOOD),
    fate: GOAWAY_PROTOCOL,
  },
  { name: 'HEADERS on stream 0', send: (wire) => wire.send(FRAME.headers, WHOLE, 0, GOOD), fate: GOAWAY_PROTOCOL },
  {
    name: 'another frame between HEADERS and CONTINUATION',
    send: (wire) => wire.send(FRAME.headers, FLAG.endStream, 1, GOOD).send(FRAME.ping, 0, 0, Buffer.alloc(8)),
    fate: GOAWAY_PROTOCOL,
  },
  {
    name: 'CONTINUATION without HEADERS',
    send: (wire) => wire.send(FRAME.continuation, FLAG.endHeaders, 1, GOOD),
    fate: GOAWAY_PROTOCOL,
  },
  {
    name: 'a field block that is none',
    send: (wire) => wire.send(FRAME.headers, WHOLE, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff])),
    fate: { goaway: HTTP2_ERROR.compression },
  },
  {
    name: 'a frame that is too large',
    send: (wire) => wire.send(FRAME.headers, OPEN, 1, POST).send(FRAME.data, 0, 1, Buffer.alloc(20_000)),
    fate: { goaway: HTTP2_ERROR.frameSize },
  },
  {
    name: 'a PING of 7 bytes',
    send: (wire) => wire.send(FRAME.ping, 0, 0, Buffer.alloc(7)),
    fate: { goaway: HTTP2_ERROR.frameSize },
  },
  { name: 'SETTINGS on a stream', send: (wire) => wire.send(FRAME.settings, 0, 1), fate: GOAWAY_PROTOCOL },
  {
    name: 'SETTINGS of 5 bytes',
    send: (wire) => wire.send(FRAME.settings, 0, 0, Buffer.alloc(5)),
    fate: { goaway: HTTP2_ERROR.frameSize },
  },
  {
    name: 'padding as long as the frame',
    send: (wire) => wire.send(FRAME.headers, OPEN, 1, POST).send(FRAME.data, FLAG.padded, 1, Buffer.from([9, 1, 2])),
    fate: GOAWAY_PROTOCOL,
  },
  {
    name: 'a window that grows by nothing',
    send: (wire) => wire.send(FRAME.headers, OPEN, 1, POST).send(FRAME.window, 0, 1, uint32(0)),
    fate: GOAWAY_PROTOCOL,
  },
  {
    name: 'a window of the connection beyond 2^31-1',
    send: (wire) => wire.send(FRAME.window, 0, 0, uint32(0x7fff_ffff)),
    fate: { goaway: HTTP2_ERROR.flowControl },
  },
  {
    name: 'a window of a stream beyond 2^31-1',
    send: (wire) => wire.send(FRAME.headers, OPEN, 1, POST).send(FRAME.window, 0, 1, uint32(0x7fff_ffff)),
    fate: { goaway: HTTP2_ERROR.flowControl },
  },
  {
    name: 'RST_STREAM of a stream that never was',
    send: (wire) => wire.send(FRAME.reset, 0, 1, uint32(8)),
    fate: GOAWAY_PROTOCOL,
  },
  {
    name: 'PUSH_PROMISE',
    send: (wire) => wire.send(FRAME.push, FLAG.endHeaders, 1, Buffer.concat([uint32(2), GOOD])),
    fate: GOAWAY_PROTOCOL,
  },
  {
    name: 'another preface',
    send: (wire) => wire.socket.write('GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\n'),
    fate: { goaway: HTTP2_ERROR.internal },
  },
];

suite('HTTP/2 that is none', () => {
  let edge: EdgeUnderTest;
  const seen: Seen[] = [];

  before(async () => {
    edge = await EdgeUnderTest.start();
    edge.publish({ m1: recording(seen) });
  });

  after(() => edge[Symbol.asyncDispose]());

  const connected = async (): Promise<Http2Wire> => new Http2Wire(await edge.connect(HOST, ['h2']));

  async function fateOf(wire: Http2Wire): Promise<Fate> {
    const isFate = ({ type, stream }: { type: number; stream: number }): boolean =>
      type === FRAME.goaway || (stream === 1 && (type === FRAME.reset || type === FRAME.headers));
    const frame = await wire.next(isFate);
    if (frame?.type === FRAME.headers) {
      const { status } = await edge.logged(({ message }) => message === 'request');
      return { status: status as number };
    }
    if (frame?.type === FRAME.reset) return { reset: frame.payload.readUInt32BE(0) };
    return { goaway: wire.goaway ?? -1 };
  }

  async function check(send: (wire: Http2Wire) => void, fate: Fate): Promise<void> {
    edge.log.length = 0;
    const wire = await connected();
    if (send !== FRAMES.at(-1)?.send) wire.open();
    send(wire);
    assert.deepEqual(await fateOf(wire), fate);
    if (!('goaway' in fate)) {
      // Only the stream is over.
      wire.send(FRAME.headers, WHOLE, 3, GOOD);
      const answer = await wire.next(({ type, stream }) => type === FRAME.headers && stream === 3);
      assert.equal(answer?.payload[0], 0x88, ':status 200 of the static table');
    }
    wire.socket.destroy();
  }

  for (const [name, fields, fate] of HEADS) {
    test(name, async () => {
      await check((wire) => {
        const block = http2Fields(fields);
        // In frames of 16 KiB, as every sender has to.
        for (let at = 0; at < block.length; at += 16_384) {
          const isLast = at + 16_384 >= block.length;
          const flags = (at === 0 ? FLAG.endStream : 0) | (isLast ? FLAG.endHeaders : 0);
          wire.send(at === 0 ? FRAME.headers : FRAME.continuation, flags, 1, block.subarray(at, at + 16_384));
        }
      }, fate);
    });
  }

  for (const { name, send, fate } of FRAMES) test(name, () => check(send, fate));

  for (const [what, name, value] of TAKEN_OUT) {
    test(`${what} reaches nobody`, async () => {
      seen.length = 0;
      const wire = (await connected()).open();
      wire.send(
        FRAME.headers,
        WHOLE,
        1,
        http2Request(HOST, [
          [name, value],
          ['x-last', 'here'],
        ]),
      );
      await wire.next(({ type, stream }) => type === FRAME.headers && stream === 1);
      const fields = seen[0]?.fields ?? [];
      assert.ok(fields.some(([each]) => each === 'x-last'));
      assert.equal(
        fields.find(([each, text]) => each === name || text.includes(value) || each === 'x-c'),
        undefined,
      );
      wire.socket.destroy();
    });
  }

  test('cookies come as one field, and priorities mean nothing', async () => {
    seen.length = 0;
    const wire = (await connected()).open();
    wire.send(FRAME.priority, 0, 1, Buffer.from([0, 0, 0, 3, 200]));
    const block = http2Request(HOST, [
      ['cookie', 'a=1'],
      ['x-b', '2'],
      ['cookie', 'c=3'],
      ['priority', 'u=1, i'],
    ]);
    const priority = Buffer.from([0x80, 0, 0, 7, 255]);
    wire.send(FRAME.headers, WHOLE | FLAG.priority, 1, Buffer.concat([priority, block]));
    wire.send(FRAME.priority, 0, 5, Buffer.from([0, 0, 0, 5, 0]));
    await wire.next(({ type, stream }) => type === FRAME.headers && stream === 1);
    const fields = seen[0]?.fields ?? [];
    assert.deepEqual(
      fields.filter(([name]) => name === 'cookie'),
      [['cookie', 'a=1; c=3']],
    );
    assert.ok(
      fields.some(([name, value]) => name === 'priority' && value === 'u=1, i'),
      'RFC 9218 passes',
    );
    wire.socket.destroy();
  });
});
