/** What floods of HTTP/2 frames look like on the wire, each from one connection. */
import {
  FLAG,
  FRAME,
  hpackNumber,
  hpackText,
  http2Fields,
  http2Frame,
  http2Request,
  uint32,
  type Http2Wire,
} from '@moat/testkit';

/** How a flood ends: by GOAWAY with one of these codes, or it may go on for nothing (undefined). */
export interface Http2Flood {
  readonly name: string;
  /** SETTINGS of the client. */
  readonly settings?: readonly (readonly [number, number])[];
  /** Before the flood. */
  readonly begin?: (wire: Http2Wire, host: string) => void;
  /** One part of it; `round` counts from 0. */
  readonly part: (host: string, round: number) => Buffer;
  readonly rounds: number;
  readonly goaway: readonly number[];
}

const WHOLE = FLAG.endHeaders | FLAG.endStream;
const [INTERNAL_ERROR, CANCEL, CALM] = [2, 8, 11];
const PER_ROUND = 200;

function repeated(frame: Buffer, times: number = PER_ROUND): Buffer {
  return Buffer.concat(Array.from({ length: times }, () => frame));
}

/** Numbers of the streams of one round. */
function streams(round: number, count: number = PER_ROUND): number[] {
  return Array.from({ length: count }, (_, i) => (round * count + i) * 2 + 1);
}

function post(host: string): Buffer {
  return http2Request(host, [], { ':method': 'POST', ':path': '/upload' });
}

function opened(wire: Http2Wire, host: string): void {
  wire.send(FRAME.headers, FLAG.endHeaders, 1, post(host));
}

/** One field of 4 KB into the table, then a thousand references of one byte to it. */
function bomb(host: string): Buffer {
  const entry = Buffer.concat([hpackNumber(0, 6), hpackText('x-bomb'), hpackText('a'.repeat(3_900))]);
  entry[0] = 0x40;
  return Buffer.concat([http2Request(host), entry, Buffer.alloc(8_000, 0xbe)]);
}

/** Requests that are taken back with `code` as soon as they are made. */
function rapidReset(name: string, code: number): Http2Flood {
  const pair = (host: string, stream: number): Buffer[] => [
    http2Frame(FRAME.headers, WHOLE, stream, http2Request(host)),
    http2Frame(FRAME.reset, 0, stream, uint32(code)),
  ];
  return {
    name,
    part: (host, round) => Buffer.concat(streams(round).flatMap((stream) => pair(host, stream))),
    rounds: 100,
    goaway: [CALM],
  };
}

export const HTTP2_FLOODS: readonly Http2Flood[] = [
  rapidReset('rapid reset (CVE-2023-44487)', CANCEL),
  rapidReset('rapid reset with another code', INTERNAL_ERROR),
  {
    name: 'resets the server is made to send (CVE-2025-8671): a window that overflows',
    part: (host, round) =>
      Buffer.concat(
        streams(round).flatMap((stream) => [
          http2Frame(FRAME.headers, FLAG.endHeaders, stream, post(host)),
          http2Frame(FRAME.window, 0, stream, uint32(0x7fff_ffff)),
        ]),
      ),
    rounds: 100,
    goaway: [3],
  },
  {
    name: 'resets the server is made to send: a length that is not kept',
    part: (host, round) =>
      Buffer.concat(
        streams(round).flatMap((stream) => [
          http2Frame(
            FRAME.headers,
            FLAG.endHeaders,
            stream,
            http2Request(host, [['content-length', '5']], { ':method': 'POST' }),
          ),
          http2Frame(FRAME.data, FLAG.endStream, stream, Buffer.from('4')),
        ]),
      ),
    rounds: 100,
    goaway: [1, 2, CALM],
  },
  {
    name: 'heads that are none',
    part: (host, round) =>
      Buffer.concat(
        streams(round).map((each) => http2Frame(FRAME.headers, WHOLE, each, http2Request(host, [['A', 'b']]))),
      ),
    rounds: 100,
    goaway: [1, 2, CALM],
  },
  {
    name: 'requests that are refused',
    part: (_host, round) =>
      Buffer.concat(
        streams(round, 50).map((each) => http2Frame(FRAME.headers, WHOLE, each, http2Request('other.localhost'))),
      ),
    rounds: 100,
    // Each is answered with 421, as any server would; what it costs is what requests cost.
    goaway: [],
  },
  {
    name: 'streams beyond what we allow',
    part: (host, round) =>
      Buffer.concat(streams(round).map((each) => http2Frame(FRAME.headers, FLAG.endHeaders, each, post(host)))),
    rounds: 50,
    goaway: [0, 1, 2, 7, CALM],
  },
  {
    name: 'CONTINUATION without end (CVE-2024-27316)',
    begin: (wire, host) => wire.send(FRAME.headers, FLAG.endStream, 1, http2Request(host)),
    part: () => repeated(http2Frame(FRAME.continuation, 0, 1, http2Fields([['x-a', 'b'.repeat(100)]]))),
    rounds: 100,
    goaway: [1, 2, 9, CALM],
  },
  { name: 'PING', part: () => repeated(http2Frame(FRAME.ping, 0, 0, Buffer.alloc(8))), rounds: 200, goaway: [CALM] },
  { name: 'SETTINGS', part: () => repeated(http2Frame(FRAME.settings, 0, 0)), rounds: 200, goaway: [CALM] },
  {
    name: 'PRIORITY',
    part: () => repeated(http2Frame(FRAME.priority, 0, 1, Buffer.from([0, 0, 0, 3, 9]))),
    rounds: 2_000,
    goaway: [CALM],
  },
  {
    name: 'WINDOW_UPDATE',
    begin: opened,
    part: () => repeated(http2Frame(FRAME.window, 0, 1, uint32(1))),
    rounds: 2_000,
    goaway: [CALM],
  },
  {
    name: 'frames of no known type',
    part: () => repeated(http2Frame(99, 0, 0, Buffer.alloc(16))),
    rounds: 2_000,
    goaway: [CALM],
  },
  {
    name: 'empty DATA (CVE-2019-9518)',
    begin: opened,
    part: () => repeated(http2Frame(FRAME.data, 0, 1)),
    rounds: 100,
    goaway: [2],
  },
  {
    name: 'padding',
    begin: opened,
    part: () =>
      repeated(http2Frame(FRAME.data, FLAG.padded, 1, Buffer.concat([Buffer.from([250]), Buffer.alloc(250)]))),
    rounds: 200,
    goaway: [CALM],
  },
  {
    name: 'fields without a name (CVE-2019-9516)',
    part: (host, round) =>
      Buffer.concat(
        streams(round, 10).map((each) => {
          const empty = Buffer.alloc(12_000, Buffer.from([0, 0, 0]));
          return http2Frame(FRAME.headers, WHOLE, each, Buffer.concat([http2Request(host), empty]));
        }),
      ),
    rounds: 100,
    goaway: [CALM],
  },
  {
    name: 'a field block that unfolds (HPACK bomb)',
    part: (host, round) =>
      Buffer.concat(streams(round, 20).map((stream) => http2Frame(FRAME.headers, WHOLE, stream, bomb(host)))),
    rounds: 200,
    goaway: [1, 2, 9, CALM],
  },
];
