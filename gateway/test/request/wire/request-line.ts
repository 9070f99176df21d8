/** RFC 9112 §2 and §3: the start line, what may stand before it, methods, versions. */
import { H, accepted, got, head, refused, shown, type WireCase } from './case.ts';

const line = (start: string): string => `${start}\r\n${H}\r\n`;
const MALFORMED = 400;
/** Bytes that are no HTTP/1.x: malformed, or a version nobody here speaks. */
const NO_VERSION = [400, 505];
/** A method that is no name of one: malformed, or unknown. */
const NO_METHOD = [400, 501];

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'PROPFIND', 'REPORT', 'M-SEARCH'];

export const REQUEST_LINE: readonly WireCase[] = [
  ...METHODS.map((method) => accepted(`method ${method}`, line(`${method} /m HTTP/1.1`), [got(method, '/m')])),
  // §2.2: robustness, as little of it as is safe.
  accepted('one empty line before the request', `\r\n${line('GET /a HTTP/1.1')}`, [got('GET', '/a')]),
  accepted('one empty line between two requests', `${line('GET /a HTTP/1.1')}\r\n${line('GET /b HTTP/1.1')}`, [
    got('GET', '/a'),
    got('GET', '/b'),
  ]),
  accepted('one empty line behind a body', `${head('POST /a HTTP/1.1', 'Content-Length: 3')}abc\r\n`, [
    got('POST', '/a', 'abc'),
  ]),
  refused('three empty lines before the request', `\r\n\r\n\r\n${line('GET / HTTP/1.1')}`, MALFORMED),
  refused('bare LF before the request', `\n${line('GET / HTTP/1.1')}`, MALFORMED),
  refused('bare CR before the request', `\r${line('GET / HTTP/1.1')}`, MALFORMED),
  refused('space before the request', ` ${line('GET / HTTP/1.1')}`, NO_METHOD),
  refused('tab before the request', `\t${line('GET / HTTP/1.1')}`, NO_METHOD),
  refused('NUL before the request', `\0${line('GET / HTTP/1.1')}`, NO_METHOD),
  refused('a byte order mark before the request', `\xef\xbb\xbf${line('GET / HTTP/1.1')}`, NO_METHOD),
  refused('bare LF ends the request line', `GET / HTTP/1.1\n${H}\r\n`, MALFORMED),
  refused('bare CR ends the request line', `GET / HTTP/1.1\r${H}\r\n`, MALFORMED),
  refused('CR CR LF ends the request line', `GET / HTTP/1.1\r\r\n${H}\r\n`, MALFORMED),
  refused('LF CR ends the request line', `GET / HTTP/1.1\n\r${H}\r\n`, MALFORMED),
  refused('bare LF everywhere', `GET / HTTP/1.1\n${H.replace('\r', '')}\n`, MALFORMED),
  // §3: single spaces between its three parts, nothing else.
  refused('two spaces before the target', line('GET  / HTTP/1.1'), MALFORMED),
  refused('two spaces before the version', line('GET /  HTTP/1.1'), [400, 505]),
  refused('tab before the target', line('GET\t/ HTTP/1.1'), NO_METHOD),
  refused('tab before the version', line('GET /\tHTTP/1.1'), NO_VERSION),
  refused('vertical tab before the version', line('GET /\x0bHTTP/1.1'), NO_VERSION),
  refused('form feed before the version', line('GET /\x0cHTTP/1.1'), NO_VERSION),
  refused('bare CR before the version', line('GET /\rHTTP/1.1'), NO_VERSION),
  refused('space behind the version', line('GET / HTTP/1.1 '), NO_VERSION),
  refused('tab behind the version', line('GET / HTTP/1.1\t'), NO_VERSION),
  refused('words behind the version', line('GET / HTTP/1.1 x'), NO_VERSION),
  refused('space in the target', line('GET /a b HTTP/1.1'), NO_VERSION),
  refused('a second request in the target', line('GET / HTTP/1.1 GET / HTTP/1.1'), NO_VERSION),
  refused('only a method', line('GET'), [400, 501, 505]),
  refused('method and space', line('GET '), NO_VERSION),
  refused('no target', line('GET HTTP/1.1'), NO_VERSION),
  refused('no method', line(' / HTTP/1.1'), NO_METHOD),
  refused('target and version', line('/ HTTP/1.1'), NO_METHOD),
  refused('HTTP/0.9', 'GET /\r\n\r\n', NO_VERSION),
  refused('no version', line('GET /'), NO_VERSION),
  refused('no version, one space', line('GET / '), NO_VERSION),
  // §2.3.
  ...['HTTP/1.2', 'HTTP/1.9', 'HTTP/0.9', 'HTTP/2.0', 'HTTP/3.0', 'HTTP/9.9'].map((version) =>
    refused(`version ${version}`, line(`GET / ${version}`), NO_VERSION),
  ),
  ...[
    'http/1.1',
    'Http/1.1',
    'HTTP/1',
    'HTTP/1.',
    'HTTP/.1',
    'HTTP/1.10',
    'HTTP/11.1',
    'HTTP/01.1',
    'HTTP/1.01',
    'HTTP/1,1',
    'HTTP/1-1',
    'HTTP/+1.1',
    'HTTP/1.1.1',
    'HTTP/x.y',
    'HTTP /1.1',
    'HTTP/ 1.1',
    'HTTP/1.1;',
    'HTTP\\1.1',
    'HTTPS/1.1',
    'HTTP',
    'HTT/1.1',
    'HTCPCP/1.0',
    'SIP/2.0',
  ].map((version) => refused(`version ${version}`, line(`GET / ${version}`), NO_VERSION)),
  refused('NUL in the version', line('GET / HTTP/1\0.1'), NO_VERSION),
  refused('RTSP', line('DESCRIBE / RTSP/1.0'), [400, 501, 505]),
  refused('a method of RTSP in HTTP', line('DESCRIBE / HTTP/1.1'), NO_METHOD),
  refused('ICE', line('SOURCE /mount ICE/1.0'), [400, 501, 505]),
  refused('preface of HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [400, 405, 501, 505]),
  refused('PRI as a method', line('PRI / HTTP/1.1'), NO_METHOD),
  // §3.1: a method is a case-sensitive token; one we do not know ends here.
  refused('method in lower case', line('get / HTTP/1.1'), NO_METHOD),
  refused('method in mixed case', line('Get / HTTP/1.1'), NO_METHOD),
  refused('a method nobody knows', line('FROBNICATE / HTTP/1.1'), NO_METHOD),
  refused('a method with a known beginning', line('GETX / HTTP/1.1'), NO_METHOD),
  refused('a method cut short', line('GE / HTTP/1.1'), NO_METHOD),
  refused('a method too long', line(`${'A'.repeat(5_000)} / HTTP/1.1`), [400, 414, 431, 501]),
  ...['\0', '\x01', '\x7f', '\x80', '"', '(', ')', ',', ':', ';', '<', '=', '@', '[', '\\', '{'].map((character) =>
    refused(`method with ${shown(character)}`, line(`GE${character}T / HTTP/1.1`), NO_METHOD),
  ),
  refused('TRACE', line('TRACE / HTTP/1.1'), 405),
  refused('TRACE with a body', `${head('TRACE / HTTP/1.1', 'Content-Length: 3')}abc`, 405),
  // Other protocols at this door.
  refused('a TLS handshake', '\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03', NO_METHOD),
  refused('an SSH client', 'SSH-2.0-OpenSSH_9.2p1 Debian\r\n', NO_METHOD),
  refused('a mail client', 'EHLO example.com\r\n', NO_METHOD),
  refused('PROXY protocol 1', `PROXY TCP4 6.6.6.6 127.0.0.1 1 443\r\n${line('GET / HTTP/1.1')}`, NO_METHOD),
  refused('PROXY protocol 2', `\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c${'\x06'.repeat(12)}`, NO_METHOD),
  refused('JSON', '{"method":"GET"}\r\n\r\n', NO_METHOD),
  refused('an answer', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n', NO_METHOD),
  refused('zeroes', '\0'.repeat(64), NO_METHOD),
  refused('bytes with the highest bit', '\xff'.repeat(64), NO_METHOD),
];
