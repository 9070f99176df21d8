/** Answers of services: refused, cut off, accepted. */
import { type FieldList, type ResponseHead } from '@moat/core';
import type { ResponseParser, AskedRequest, ParserLimits } from '../../src/connector/http1-parser.ts';

export interface Read {
  readonly heads: ResponseHead[];
  body: string;
  trailers: FieldList | undefined;
  used: number;
  parser: ResponseParser;
}

export const GET: AskedRequest = { method: 'GET' };

export interface ReadOptions {
  readonly asked?: AskedRequest;
  readonly step?: number;
  readonly finish?: boolean;
  readonly limits?: ParserLimits;
}

export const OK = 'HTTP/1.1 200 OK\r\n';
export const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;

/** Everything a service may get wrong, or do on purpose, that must not be read leniently. */
export const REFUSED: Record<string, string> = {
  'not HTTP at all': 'SSH-2.0-OpenSSH_9.2\r\n',
  'a TLS alert': '\x15\x03\x03\x00\x02\x02\x0a',
  'an empty line before the status line': `\r\n${OK}Content-Length: 0\r\n\r\n`,
  'a lower-case version': 'http/1.1 200 OK\r\n\r\n',
  'HTTP/2 as text': 'HTTP/2.0 200 OK\r\n\r\n',
  'HTTP/1.2': 'HTTP/1.2 200 OK\r\n\r\n',
  'HTTP/1.10': 'HTTP/1.10 200 OK\r\n\r\n',
  'HTTP/0.9': '<html>hello</html>\r\n',
  'two spaces after the version': 'HTTP/1.1  200 OK\r\n\r\n',
  'a tab after the version': 'HTTP/1.1\t200 OK\r\n\r\n',
  'a status of two digits': 'HTTP/1.1 20 OK\r\n\r\n',
  'a status of four digits': 'HTTP/1.1 2000 OK\r\n\r\n',
  'a status below 100': 'HTTP/1.1 099 OK\r\n\r\n',
  'a status above 599': 'HTTP/1.1 600 OK\r\n\r\n',
  'a negative status': 'HTTP/1.1 -20 OK\r\n\r\n',
  'no status': 'HTTP/1.1\r\n\r\n',
  'a NUL in the reason': 'HTTP/1.1 200 O\0K\r\n\r\n',
  'a bare CR in the reason': 'HTTP/1.1 200 OK\rX: y\r\n\r\n',
  'a status line ended by LF': 'HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n',
  'a field ended by LF': `${OK}A: b\nContent-Length: 0\r\n\r\n`,
  'a head ended by LF': `${OK}Content-Length: 0\r\n\n`,
  'a line ended by CR CR LF': `${OK}A: b\r\r\n\r\n`,
  'a bare CR in a value': `${OK}A: b\rContent-Length: 5\r\n\r\n`,
  'a folded line': `${OK}A: b\r\n c\r\n\r\n`,
  'a folded line with a tab': `${OK}A: b\r\n\tc\r\n\r\n`,
  'a folded Content-Length': `${OK}Content-Length:\r\n 5\r\n\r\nhello`,
  'a folded first line': `${OK} A: b\r\n\r\n`,
  'a name longer than a link carries': `${OK}${'a'.repeat(256)}: b\r\n\r\n`,
  'a space before the colon': `${OK}Content-Length : 5\r\n\r\nhello`,
  'a tab before the colon': `${OK}Transfer-Encoding\t: chunked\r\n\r\n`,
  'a line without a colon': `${OK}Content-Length 5\r\n\r\n`,
  'an empty name': `${OK}: b\r\n\r\n`,
  'a name with a space': `${OK}Content Length: 5\r\n\r\n`,
  'a name with obs-text': `${OK}Content-L\xe9ngth: 5\r\n\r\n`,
  'a NUL in a name': `${OK}A\0: b\r\n\r\n`,
  'a NUL in a value': `${OK}A: b\0c\r\n\r\n`,
  'DEL in a value': `${OK}A: b\x7f\r\n\r\n`,
  'a vertical tab around a value': `${OK}Transfer-Encoding:\x0bchunked\r\n\r\n`,
  'both lengths': `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'both lengths, the other way round': `${OK}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`,
  'two equal Content-Lengths': `${OK}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`,
  'two different Content-Lengths': `${OK}Content-Length: 5\r\ncontent-length: 6\r\n\r\nhello!`,
  'Content-Lengths in one field': `${OK}Content-Length: 5, 5\r\n\r\nhello`,
  'Content-Length with a sign': `${OK}Content-Length: +5\r\n\r\nhello`,
  'a negative Content-Length': `${OK}Content-Length: -1\r\n\r\n`,
  'a hexadecimal Content-Length': `${OK}Content-Length: 0x5\r\n\r\nhello`,
  'a Content-Length with a point': `${OK}Content-Length: 5.0\r\n\r\nhello`,
  'a Content-Length with an exponent': `${OK}Content-Length: 5e0\r\n\r\nhello`,
  'a Content-Length with an underscore': `${OK}Content-Length: 1_0\r\n\r\n`,
  'a Content-Length with a space inside': `${OK}Content-Length: 1 0\r\n\r\n`,
  'an empty Content-Length': `${OK}Content-Length:\r\n\r\n`,
  'a Content-Length beyond any integer': `${OK}Content-Length: 99999999999999999999\r\n\r\n`,
  'Transfer-Encoding identity': `${OK}Transfer-Encoding: identity\r\n\r\n`,
  'Transfer-Encoding gzip, chunked': `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n`,
  'Transfer-Encoding chunked, identity': `${OK}Transfer-Encoding: chunked, identity\r\n\r\n`,
  'Transfer-Encoding xchunked': `${OK}Transfer-Encoding: xchunked\r\n\r\n`,
  'a quoted Transfer-Encoding': `${OK}Transfer-Encoding: "chunked"\r\n\r\n`,
  'two Transfer-Encodings': `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`,
  'an empty Transfer-Encoding': `${OK}Transfer-Encoding:\r\n\r\n`,
  'Transfer-Encoding in HTTP/1.0': 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'Connection naming Content-Length': `${OK}Connection: content-length\r\nContent-Length: 0\r\n\r\n`,
  'Connection that is no list of tokens': `${OK}Connection: "close"\r\nContent-Length: 0\r\n\r\n`,
  'a 204 with a length': 'HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello',
  'a 204 in chunks': 'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  'a 103 with a length': 'HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n',
  'a 101 nobody asked for': 'HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n',
  'a chunk size ended by LF': `${CHUNKED}5\nhello\r\n0\r\n\r\n`,
  'a chunk size with a sign': `${CHUNKED}+5\r\nhello\r\n0\r\n\r\n`,
  'a negative chunk size': `${CHUNKED}-5\r\nhello\r\n0\r\n\r\n`,
  'a chunk size with 0x': `${CHUNKED}0x5\r\nhello\r\n0\r\n\r\n`,
  'a chunk size with an underscore': `${CHUNKED}1_0\r\n`,
  'a chunk size with a space before it': `${CHUNKED} 5\r\nhello\r\n0\r\n\r\n`,
  'a chunk size with a space after it': `${CHUNKED}5 \r\nhello\r\n0\r\n\r\n`,
  'an empty chunk size': `${CHUNKED}\r\nhello\r\n0\r\n\r\n`,
  'a chunk size that is no number': `${CHUNKED}five\r\n`,
  'a chunk size beyond any integer': `${CHUNKED}fffffffffffffffff\r\n`,
  'a chunk extension with a bare CR': `${CHUNKED}5;a\rb\r\nhello\r\n0\r\n\r\n`,
  'a chunk extension with a NUL': `${CHUNKED}5;a\0\r\nhello\r\n0\r\n\r\n`,
  'an endless chunk extension': `${CHUNKED}5;${'a'.repeat(2_000)}\r\n`,
  'a chunk longer than its size': `${CHUNKED}5\r\nhello!\r\n0\r\n\r\n`,
  'a chunk shorter than its size': `${CHUNKED}5\r\nhell\r\n0\r\n\r\n`,
  'a chunk ended by LF': `${CHUNKED}5\r\nhello\n0\r\n\r\n`,
  'a chunk ended by CR and something': `${CHUNKED}5\r\nhello\rX0\r\n\r\n`,
  'a trailer ended by LF': `${CHUNKED}0\r\nA: b\n\r\n`,
  'a folded trailer': `${CHUNKED}0\r\nA: b\r\n c\r\n\r\n`,
  'a trailer without a colon': `${CHUNKED}0\r\nGET / HTTP/1.1\r\n\r\n`,
  'a head that ends with CR and something': `${OK}A: b\r\n\rX\n`,
  'a value that ends with CR CR LF CR LF': `${OK}A: b\r\r\n\r\n`,
  'a common name with one letter beyond ASCII': `${OK}Content-L\xe5ngth: 5\r\n\r\nhello`,
  'a common name with a control character': `${OK}Content-Length\x0b: 5\r\n\r\nhello`,
  'a second length beyond the first KiB': `${OK}Content-Length: 5\r\nA: ${'b'.repeat(2_000)}\r\nCONTENT-LENGTH: 6\r\n\r\nhello!`,
  'chunked beyond the first KiB beside a length': `${OK}Content-Length: 5\r\nA: ${'b'.repeat(2_000)}\r\nTransfer-encoding: chunked\r\n\r\n`,
  'a 101 with a length': `HTTP/1.1 101 S\r\nContent-Length: 5\r\n\r\n`,
  'a 1xx that closes': `HTTP/1.1 103 E\r\nConnection: close\r\n\r\n${OK}Content-Length: 0\r\n\r\n`,
  'a 1xx in chunks': `HTTP/1.1 103 E\r\nTransfer-Encoding: chunked\r\n\r\n`,
  'trailers without end': `${CHUNKED}0\r\n${`A: ${'b'.repeat(100)}\r\n`.repeat(100)}`,
  'a head without end': `${OK}${`A: ${'b'.repeat(1_000)}\r\n`.repeat(40)}`,
  'a line without end': `${OK}A: ${'b'.repeat(40_000)}`,
  'a status line without end': `HTTP/1.1 200 ${'b'.repeat(40_000)}`,
  'too many fields': `${OK}${'A: b\r\n'.repeat(201)}`,
  'too many 1xx': 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(17),
};

/** Where the connection ends too early. */
export const CUT: Record<string, string> = {
  'before anything': '',
  'in the status line': 'HTTP/1.1 20',
  'in the head': `${OK}Content-Len`,
  'after a 1xx': 'HTTP/1.1 103 Early Hints\r\n\r\n',
  'in a counted body': `${OK}Content-Length: 5\r\n\r\nhel`,
  'in a chunk size': `${CHUNKED}5`,
  'in a chunk': `${CHUNKED}5\r\nhel`,
  'between chunks': `${CHUNKED}5\r\nhello\r\n`,
  'before the last line': `${CHUNKED}0\r\n`,
  'in the trailers': `${CHUNKED}0\r\nA: b\r\n`,
};

export interface Expected {
  readonly status: number;
  readonly body: string;
  readonly fields?: FieldList;
  readonly trailers?: FieldList;
  readonly reusable: boolean;
}

export const ACCEPTED: Record<string, [text: string, expected: Expected, options?: ReadOptions]> = {
  'a counted body': [
    `${OK}Content-Length: 5\r\nX-A: b\r\n\r\nhello`,
    {
      status: 200,
      body: 'hello',
      fields: [
        ['content-length', '5'],
        ['x-a', 'b'],
      ],
      reusable: true,
    },
  ],
  'an empty body': [`${OK}Content-Length: 0\r\n\r\n`, { status: 200, body: '', reusable: true }],
  'a status line without reason': [
    'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n',
    { status: 200, body: '', reusable: true },
  ],
  'a reason with obs-text': [
    'HTTP/1.1 404 \xe9\r\nContent-Length: 0\r\n\r\n',
    { status: 404, body: '', reusable: true },
  ],
  'spaces and tabs around a value': [
    `${OK}A: \t b c \t\r\nContent-Length:0\r\n\r\n`,
    {
      status: 200,
      body: '',
      fields: [
        ['a', 'b c'],
        ['content-length', '0'],
      ],
      reusable: true,
    },
  ],
  chunks: [`${CHUNKED}5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n`, { status: 200, body: 'hello world', reusable: true }],
  'chunks with extensions, upper case and zeros': [
    `${CHUNKED}00A;name="v";x\r\n0123456789\r\n0;last\r\n\r\n`,
    { status: 200, body: '0123456789', reusable: true },
  ],
  'a Transfer-Encoding in capitals': [
    `${OK}TRANSFER-ENCODING: Chunked\r\n\r\n0\r\n\r\n`,
    { status: 200, body: '', fields: [], reusable: true },
  ],
  'trailers, without those that would be believed': [
    `${CHUNKED}0\r\nGrpc-Status: 0\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\nHost: evil\r\n\r\n`,
    { status: 200, body: '', trailers: [['grpc-status', '0']], reusable: true },
  ],
  'until the connection closes': [`${OK}\r\nhello`, { status: 200, body: 'hello', reusable: false }, { finish: true }],
  'HTTP/1.0': ['HTTP/1.0 200 OK\r\n\r\nhello', { status: 200, body: 'hello', reusable: false }, { finish: true }],
  'HTTP/1.0 with keep-alive': [
    'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi',
    { status: 200, body: 'hi', reusable: false },
  ],
  'Connection: close': [
    `${OK}Connection: Close\r\nContent-Length: 2\r\n\r\nhi`,
    { status: 200, body: 'hi', fields: [['content-length', '2']], reusable: false },
  ],
  'fields of this connection only, and those it names': [
    `${OK}Connection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nProxy-Authenticate: x\r\nTE: x\r\nUpgrade: h2\r\nA: b\r\nContent-Length: 0\r\n\r\n`,
    {
      status: 200,
      body: '',
      fields: [
        ['a', 'b'],
        ['content-length', '0'],
      ],
      reusable: true,
    },
  ],
  'a 204': ['HTTP/1.1 204 No Content\r\n\r\n', { status: 204, body: '', fields: [], reusable: true }],
  'a 204 that says 0': [
    'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n',
    { status: 204, body: '', fields: [], reusable: true },
  ],
  'a 304 with the length it would have': [
    'HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n',
    { status: 304, body: '', fields: [['content-length', '500']], reusable: true },
  ],
  'an answer to HEAD': [
    `${OK}Content-Length: 500\r\n\r\n`,
    { status: 200, body: '', fields: [['content-length', '500']], reusable: true },
    { asked: { method: 'HEAD' } },
  ],
  'an answer to HEAD in chunks': [
    CHUNKED,
    { status: 200, body: '', fields: [], reusable: true },
    { asked: { method: 'HEAD' } },
  ],
};
