/** RFC 9112 §9 and RFC 9110 §7.6, §7.8, §10.1.1: several requests of one connection, and what switches or ends it. */
import { HOST } from '../../edge-under-test.ts';
import { H, accepted, ending, got, head, refused, type WireCase } from './case.ts';

const get = (target: string, ...lines: readonly string[]): string => head(`GET ${target} HTTP/1.1`, ...lines);
const closes = (name: string, ...lines: readonly string[]): WireCase =>
  ending(name, get('/c', ...lines), [got('GET', '/c')]);
const SWITCH = 'Connection: Upgrade';

export const CONNECTION: readonly WireCase[] = [
  // Pipelining: in order, each with its own body.
  accepted('two requests', get('/1') + get('/2'), [got('GET', '/1'), got('GET', '/2')]),
  accepted(
    'twenty requests',
    Array.from({ length: 20 }, (_, i) => get(`/${i}`)).join(''),
    Array.from({ length: 20 }, (_, i) => got('GET', `/${i}`)),
  ),
  accepted(
    'requests with every kind of body',
    `${head('POST /1 HTTP/1.1', 'Content-Length: 1')}x${head('PUT /2 HTTP/1.1', 'Transfer-Encoding: chunked')}1\r\ny\r\n0\r\n\r\n${head('DELETE /3 HTTP/1.1')}${head('POST /4 HTTP/1.1', 'Content-Length: 0')}`,
    [got('POST', '/1', 'x'), got('PUT', '/2', 'y'), got('DELETE', '/3'), got('POST', '/4')],
  ),
  accepted('HEAD between GETs', `${get('/1')}${head('HEAD /2 HTTP/1.1')}${get('/3')}`, [
    got('GET', '/1'),
    got('HEAD', '/2'),
    got('GET', '/3'),
  ]),
  accepted(
    'a body that looks like a request',
    `${head('POST /1 HTTP/1.1', `Content-Length: ${get('/x').length}`)}${get('/x')}`,
    [got('POST', '/1', get('/x'))],
  ),
  {
    name: 'nothing behind a malformed request',
    send: `${get('/1')}GET / HTTP/1.1\r\n${H}X : y\r\n\r\n${get('/smuggled')}`,
    answers: [200, 400],
    seen: [got('GET', '/1')],
  },
  {
    name: 'nothing behind a request with both lengths',
    send: `${get('/1')}${head('POST / HTTP/1.1', 'Content-Length: 3', 'Transfer-Encoding: chunked')}0\r\n\r\n${get('/smuggled')}`,
    answers: [200, 400],
    seen: [got('GET', '/1')],
  },
  {
    name: 'nothing behind a broken body',
    send: `${get('/1')}${head('POST / HTTP/1.1', 'Transfer-Encoding: chunked')}x\r\n${get('/smuggled')}`,
    answers: [200, 400],
    seen: [got('GET', '/1')],
  },
  {
    name: 'nothing behind a request for another host',
    send: `${get('/1')}GET / HTTP/1.1\r\nHost: held.localhost\r\n\r\n${get('/smuggled')}`,
    answers: [200, 421],
    seen: [got('GET', '/1')],
  },
  {
    name: 'nothing behind CONNECT',
    send: `${get('/1')}CONNECT ${HOST}:443 HTTP/1.1\r\n${H}\r\n${get('/smuggled')}`,
    answers: [200, 405],
    seen: [got('GET', '/1')],
  },
  // §9.3, §9.6: persistence.
  accepted('keep-alive is the rule', get('/c', 'Connection: keep-alive'), [
    got('GET', '/c', '', { fields: { connection: undefined } }),
  ]),
  accepted('an empty Connection', get('/c', 'Connection:'), [got('GET', '/c')]),
  accepted('a word like close', get('/c', 'Connection: closed'), [got('GET', '/c')]),
  accepted('close in another field', get('/c', 'Proxy-Connection: close', 'Keep-Alive: close'), [got('GET', '/c')]),
  closes('close', 'Connection: close'),
  closes('close in capitals', 'CONNECTION: CLOSE'),
  closes('close among others', 'Connection: x-a, close,x-b'),
  closes('close behind keep-alive', 'Connection: keep-alive, close'),
  closes('close before keep-alive', 'Connection: close, keep-alive'),
  closes('close in a second field', 'Connection: keep-alive', 'Connection: close'),
  closes('close in a first field', 'Connection: close', 'Connection: keep-alive'),
  closes('close between tabs', 'Connection:\t,\tclose\t,'),
  ending('close with a body', `${head('POST /c HTTP/1.1', 'Content-Length: 3', 'Connection: close')}abc`, [
    got('POST', '/c', 'abc'),
  ]),
  ending(
    'close with a chunked body',
    `${head('POST /c HTTP/1.1', 'Transfer-Encoding: chunked', 'Connection: close')}3\r\nabc\r\n0\r\n\r\n`,
    [got('POST', '/c', 'abc')],
  ),
  ending('HTTP/1.0', head('GET /c HTTP/1.0'), [got('GET', '/c')]),
  ending('HTTP/1.0 with a length', `${head('POST /c HTTP/1.0', 'Content-Length: 3')}abc`, [got('POST', '/c', 'abc')]),
  ending('HTTP/1.0 that closes', head('GET /c HTTP/1.0', 'Connection: close, keep-alive'), [got('GET', '/c')]),
  ending('HTTP/1.0 that expects', `${head('POST /c HTTP/1.0', 'Content-Length: 3', 'Expect: 100-continue')}abc`, [
    got('POST', '/c', 'abc', { fields: { expect: undefined } }),
  ]),
  ending('HTTP/1.0 that would switch', head('GET /c HTTP/1.0', SWITCH, 'Upgrade: websocket'), [
    got('GET', '/c', '', { fields: { upgrade: undefined } }),
  ]),
  accepted('fields that Connection names go', get('/c', 'Connection: x-hop', 'X-Hop: 1', 'X-Stay: 2'), [
    got('GET', '/c', '', { fields: { 'x-hop': undefined, 'x-stay': '2' } }),
  ]),
  accepted('Connection takes nothing of ours', get('/c', 'Connection: x-forwarded-for, host, via'), [
    got('GET', '/c', '', { fields: { 'x-forwarded-for': '127.0.0.1' } }),
  ]),
  accepted(
    'fields of one hop go',
    get('/c', 'Keep-Alive: 5', 'Proxy-Authorization: x', 'TE: trailers', 'Proxy-Connection: x'),
    [
      got('GET', '/c', '', {
        fields: {
          'keep-alive': undefined,
          'proxy-authorization': undefined,
          te: undefined,
          'proxy-connection': undefined,
        },
      }),
    ],
  ),
];

export const EXPECTATIONS: readonly WireCase[] = [
  accepted(
    'expects with a body at once',
    `${head('POST /e HTTP/1.1', 'Content-Length: 3', 'Expect: 100-continue')}abc`,
    [got('POST', '/e', 'abc', { fields: { expect: undefined } })],
  ),
  accepted('expects in capitals', `${head('POST /e HTTP/1.1', 'Content-Length: 3', 'Expect: 100-CONTINUE')}abc`, [
    got('POST', '/e', 'abc'),
  ]),
  accepted(
    'expects with chunks',
    `${head('POST /e HTTP/1.1', 'Transfer-Encoding: chunked', 'Expect: 100-continue')}3\r\nabc\r\n0\r\n\r\n`,
    [got('POST', '/e', 'abc')],
  ),
  accepted('expects without a body', get('/e', 'Expect: 100-continue'), [got('GET', '/e')]),
  accepted('expects with a body of none', head('POST /e HTTP/1.1', 'Content-Length: 0', 'Expect: 100-continue'), [
    got('POST', '/e'),
  ]),
  refused('expects something else', `${head('POST / HTTP/1.1', 'Content-Length: 3', 'Expect: 200-ok')}abc`, 417),
  refused('expects nothing', `${head('POST / HTTP/1.1', 'Content-Length: 3', 'Expect:')}abc`, 417),
  refused('expects two things', `${head('POST / HTTP/1.1', 'Content-Length: 3', 'Expect: 100-continue, x')}abc`, 417),
  refused(
    'expects twice',
    `${head('POST / HTTP/1.1', 'Content-Length: 3', 'Expect: 100-continue', 'Expect: x')}abc`,
    417,
  ),
  refused(
    'expects with a word behind',
    `${head('POST / HTTP/1.1', 'Content-Length: 3', 'Expect: 100-continue x')}abc`,
    417,
  ),
  refused(
    'expects with both lengths',
    `${head('POST / HTTP/1.1', 'Content-Length: 3', 'Transfer-Encoding: chunked', 'Expect: 100-continue')}0\r\n\r\n`,
    400,
  ),
];

export const SWITCHING: readonly WireCase[] = [
  refused('switches with a length', `${get('/', SWITCH, 'Upgrade: websocket', 'Content-Length: 5')}hello`, 400),
  refused(
    'switches with chunks',
    `${get('/', SWITCH, 'Upgrade: websocket', 'Transfer-Encoding: chunked')}0\r\n\r\n`,
    400,
  ),
  refused(
    'switches with both lengths',
    `${get('/', SWITCH, 'Upgrade: websocket', 'Transfer-Encoding: chunked', 'Content-Length: 5')}0\r\n\r\n`,
    400,
  ),
  ending('declined: what follows is no request', get('/s', SWITCH, 'Upgrade: websocket'), [got('GET', '/s')]),
  ending('declined behind another request', get('/1') + get('/s', SWITCH, 'Upgrade: websocket'), [
    got('GET', '/1'),
    got('GET', '/s'),
  ]),
  ending('declined, with a length of none', get('/s', SWITCH, 'Upgrade: websocket', 'Content-Length: 0'), [
    got('GET', '/s'),
  ]),
  accepted('Connection does not name it', get('/s', 'Upgrade: websocket'), [
    got('GET', '/s', '', { fields: { upgrade: undefined } }),
  ]),
  accepted('only Connection names it', get('/s', SWITCH), [got('GET', '/s')]),
  accepted('h2c', get('/s', 'Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk'), [
    got('GET', '/s', '', { fields: { upgrade: undefined, 'http2-settings': undefined } }),
  ]),
  accepted(
    'h2c with a body',
    `${head('POST /s HTTP/1.1', 'Connection: Upgrade', 'Upgrade: h2c', 'Content-Length: 3')}abc`,
    [got('POST', '/s', 'abc')],
  ),
  accepted('h2c in capitals', get('/s', SWITCH, 'Upgrade: H2C'), [got('GET', '/s')]),
  accepted('TLS', get('/s', SWITCH, 'Upgrade: TLS/1.0'), [got('GET', '/s')]),
  accepted('HTTP/2.0', get('/s', SWITCH, 'Upgrade: HTTP/2.0'), [got('GET', '/s')]),
  accepted('a list', get('/s', SWITCH, 'Upgrade: websocket, h2c'), [got('GET', '/s')]),
  accepted('two fields', get('/s', SWITCH, 'Upgrade: websocket', 'Upgrade: h2c'), [got('GET', '/s')]),
  accepted('POST', `${head('POST /s HTTP/1.1', SWITCH, 'Upgrade: websocket', 'Content-Length: 3')}abc`, [
    got('POST', '/s', 'abc'),
  ]),
  accepted('nothing', get('/s', SWITCH, 'Upgrade:'), [got('GET', '/s')]),
];
