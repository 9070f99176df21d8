/**
 * What a hostile client may write to the socket. Each case says which answers are right and what, if anything, the
 * service may see of it: the gateway and the service must never disagree about where a request ends.
 */
import assert from 'node:assert/strict';
import { after, before, beforeEach, test } from 'node:test';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { recording, type Seen } from '../member.ts';

const seen: Seen[] = [];
let edge: EdgeUnderTest;

before(async () => {
  edge = await EdgeUnderTest.start({ limits: { headMs: 1_000 } });
  edge.publish({ m1: recording(seen) });
});
after(() => edge[Symbol.asyncDispose]());
beforeEach(() => void seen.splice(0));

interface Case {
  readonly name: string;
  /** Bytes on the wire, latin1. */
  readonly send: string;
  /** Statuses of the answers, in order. */
  readonly statuses: readonly number[];
  /** `method target body` of each request the service may see. */
  readonly reaches?: readonly string[];
}

const H = `Host: ${HOST}\r\n`;
const refusedWith = (name: string, send: string, ...statuses: number[]): Case => ({ name, send, statuses });

const CASES: readonly Case[] = [
  // Framing.
  refusedWith('CL.TE', `POST / HTTP/1.1\r\n${H}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG`, 400),
  refusedWith(
    'TE.CL',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n\r\n0\r\n\r\n`,
    400,
  ),
  refusedWith(
    'CL.TE with CL 0',
    `POST / HTTP/1.1\r\n${H}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
  ),
  refusedWith(
    'TE.TE: two fields',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    400,
  ),
  refusedWith(
    'TE.TE: chunked and a stranger',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n`,
    400,
  ),
  refusedWith(
    'TE: list ending in chunked',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    501,
  ),
  refusedWith(
    'TE: chunked, identity',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`,
    400,
  ),
  refusedWith('TE: identity', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: identity\r\n\r\n`, 501),
  refusedWith('TE: xchunked', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 501),
  refusedWith(
    'TE: chunked with vertical tab',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n`,
    400,
  ),
  refusedWith('TE: quoted', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n`, 501),
  refusedWith('TE: empty', `POST / HTTP/1.1\r\n${H}Transfer-Encoding:\r\n\r\n0\r\n\r\n`, 400),
  refusedWith('space before the colon', `POST / HTTP/1.1\r\n${H}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`, 400),
  refusedWith('tab before the colon', `POST / HTTP/1.1\r\n${H}Content-Length\t: 3\r\n\r\nabc`, 400),
  refusedWith('folded TE', `POST / HTTP/1.1\r\n${H}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n`, 400),
  refusedWith('folded line after CL', `POST / HTTP/1.1\r\n${H}Content-Length: 3\r\n 5\r\n\r\nabc`, 400),
  refusedWith('TE in HTTP/1.0', `POST / HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400),
  refusedWith('two CL that agree', `POST / HTTP/1.1\r\n${H}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`, 400),
  refusedWith('two CL that differ', `POST / HTTP/1.1\r\n${H}Content-Length: 3\r\nContent-Length: 30\r\n\r\nabc`, 400),
  refusedWith('CL list', `POST / HTTP/1.1\r\n${H}Content-Length: 3, 3\r\n\r\nabc`, 400),
  refusedWith('CL with plus', `POST / HTTP/1.1\r\n${H}Content-Length: +3\r\n\r\nabc`, 400),
  refusedWith('CL negative', `POST / HTTP/1.1\r\n${H}Content-Length: -1\r\n\r\n`, 400),
  refusedWith('CL hexadecimal', `POST / HTTP/1.1\r\n${H}Content-Length: 0x3\r\n\r\nabc`, 400),
  refusedWith('CL with an underscore', `POST / HTTP/1.1\r\n${H}Content-Length: 1_0\r\n\r\n0123456789`, 400),
  refusedWith('CL empty', `POST / HTTP/1.1\r\n${H}Content-Length:\r\n\r\n`, 400),
  refusedWith('CL beyond 64 bits', `POST / HTTP/1.1\r\n${H}Content-Length: 18446744073709551617\r\n\r\na`, 400),
  refusedWith('chunk size negative', `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n`, 400),
  refusedWith(
    'chunk size with 0x',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n`,
    400,
  ),
  refusedWith(
    'chunk size overflow',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n`,
    400,
  ),
  refusedWith(
    'chunk longer than its size',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n`,
    400,
  ),
  refusedWith(
    'chunk ended by a bare LF',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\n0\r\n\r\n`,
    400,
  ),
  refusedWith(
    'chunk extension with a bare LF',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n3;a\nabc\r\n0\r\n\r\n`,
    400,
  ),
  {
    name: 'chunk extensions are not passed on',
    send: `POST /ext HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n3;ext="a"\r\nabc\r\n0\r\n\r\n`,
    statuses: [200],
    reaches: ['POST /ext abc'],
  },
  {
    name: 'coding in capitals is a coding',
    send: `POST /caps HTTP/1.1\r\n${H}TRANSFER-ENCODING: CHUNKED\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n`,
    statuses: [200],
    reaches: ['POST /caps abc'],
  },
  {
    name: 'a body on GET is a body, not a request',
    send: `GET /a HTTP/1.1\r\n${H}Content-Length: 27\r\n\r\nGET /smuggled HTTP/1.1\r\nX: GET /b HTTP/1.1\r\n${H}Connection: close\r\n\r\n`,
    statuses: [200, 200],
    reaches: ['GET /a GET /smuggled HTTP/1.1\r\nX: ', 'GET /b '],
  },
  {
    name: 'pipelined requests are answered in order',
    send: `GET /1 HTTP/1.1\r\n${H}\r\nPOST /2 HTTP/1.1\r\n${H}Content-Length: 1\r\n\r\nxGET /3 HTTP/1.1\r\n${H}Connection: close\r\n\r\n`,
    statuses: [200, 200, 200],
    reaches: ['GET /1 ', 'POST /2 x', 'GET /3 '],
  },
  {
    name: 'nothing behind a refused request is read as a request',
    send: `POST / HTTP/1.1\r\n${H}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n${H}\r\n`,
    statuses: [400],
  },
  {
    name: 'Content-Length for Connection to remove',
    send: `POST /cl HTTP/1.1\r\n${H}Content-Length: 3\r\nConnection: close, content-length\r\n\r\nabc`,
    statuses: [200],
    reaches: ['POST /cl abc'],
  },
  refusedWith(
    'length in a trailer',
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n`,
    400,
  ),
  // Host and target.
  refusedWith('no Host', 'GET / HTTP/1.1\r\n\r\n', 400),
  refusedWith('no Host in HTTP/1.0', 'GET / HTTP/1.0\r\n\r\n', 400),
  refusedWith('two Hosts', `GET / HTTP/1.1\r\n${H}Host: other.localhost\r\n\r\n`, 400),
  refusedWith('two equal Hosts', `GET / HTTP/1.1\r\n${H}${H}\r\n`, 400),
  refusedWith('empty Host', 'GET / HTTP/1.1\r\nHost:\r\n\r\n', 400),
  refusedWith('Host with user', `GET / HTTP/1.1\r\nHost: a@${HOST}\r\n\r\n`, 400),
  refusedWith('Host with path', `GET / HTTP/1.1\r\nHost: ${HOST}/x\r\n\r\n`, 400),
  refusedWith('Host with space', `GET / HTTP/1.1\r\nHost: ${HOST} x\r\n\r\n`, 400),
  refusedWith('Host list', `GET / HTTP/1.1\r\nHost: ${HOST}, other.localhost\r\n\r\n`, 400),
  refusedWith('Host with port 0', `GET / HTTP/1.1\r\nHost: ${HOST}:0\r\n\r\n`, 421),
  refusedWith('Host is an address', 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n', 421),
  refusedWith('Host is an IPv6 address', 'GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n', 421),
  refusedWith('Host unknown', 'GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n', 421),
  refusedWith('Host of another published name', 'GET / HTTP/1.1\r\nHost: held.localhost\r\n\r\n', 421),
  refusedWith("Host is the gateway's own", 'GET /.well-known/moat HTTP/1.1\r\nHost: localhost\r\n\r\n', 421),
  refusedWith('Host with an underscore alias', `GET / HTTP/1.1\r\nHost: shop_localhost\r\n\r\n`, 421),
  refusedWith('space before the colon of Host', `GET / HTTP/1.1\r\nHost : ${HOST}\r\n\r\n`, 400),
  {
    name: 'Host in capitals with a final dot is the same name',
    send: `GET /dot HTTP/1.1\r\nHost: SHOP.localhost.:443\r\nConnection: close\r\n\r\n`,
    statuses: [200],
    reaches: ['GET /dot '],
  },
  refusedWith('absolute form to another host', `GET http://169.254.169.254/ HTTP/1.1\r\n${H}\r\n`, 421),
  refusedWith('absolute form to another name', `GET https://other.localhost/ HTTP/1.1\r\n${H}\r\n`, 421),
  refusedWith('absolute form with user', `GET https://x@${HOST}/ HTTP/1.1\r\n${H}\r\n`, 421),
  refusedWith('absolute form of another scheme', `GET file:///etc/passwd HTTP/1.1\r\n${H}\r\n`, 400),
  {
    name: 'absolute form to itself is a path',
    send: `GET https://${HOST}/abs?q HTTP/1.1\r\n${H}Connection: close\r\n\r\n`,
    statuses: [200],
    reaches: ['GET /abs?q '],
  },
  refusedWith('CONNECT', `CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n`, 405),
  refusedWith('CONNECT to itself', `CONNECT ${HOST}:443 HTTP/1.1\r\n${H}\r\n`, 405),
  refusedWith('TRACE', `TRACE / HTTP/1.1\r\n${H}\r\n`, 405),
  refusedWith('authority form', `GET ${HOST}:443 HTTP/1.1\r\n${H}\r\n`, 400),
  refusedWith('asterisk with GET', `GET * HTTP/1.1\r\n${H}\r\n`, 400),
  refusedWith('target with a fragment', `GET /a#b HTTP/1.1\r\n${H}\r\n`, 400),
  refusedWith('target with a space', `GET /a b HTTP/1.1\r\n${H}\r\n`, 400),
  refusedWith('target with a control character', `GET /a\x01b HTTP/1.1\r\n${H}\r\n`, 400),
  refusedWith('target outside ASCII', `GET /\xe9 HTTP/1.1\r\n${H}\r\n`, 400),
  refusedWith('HTTP/0.9', 'GET /\r\n\r\n', 400),
  refusedWith('HTTP/2.0 in the clear', `PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n`, 505),
  refusedWith('HTTP/1.2', `GET / HTTP/1.2\r\n${H}\r\n`, 505),
  refusedWith('method in lower case', `get / HTTP/1.1\r\n${H}\r\n`, 501),
  // Fields.
  refusedWith('bare LF line ends', `GET / HTTP/1.1\nHost: ${HOST}\n\n`, 400),
  refusedWith('bare CR in a value', `GET / HTTP/1.1\r\n${H}X: a\rb\r\n\r\n`, 400),
  refusedWith('NUL in a value', `GET / HTTP/1.1\r\n${H}X: a\0b\r\n\r\n`, 400),
  refusedWith('control character in a value', `GET / HTTP/1.1\r\n${H}X: a\x01b\r\n\r\n`, 400),
  refusedWith('no name', `GET / HTTP/1.1\r\n${H}: x\r\n\r\n`, 400),
  refusedWith('name with a bracket', `GET / HTTP/1.1\r\n${H}x(y): z\r\n\r\n`, 400),
  refusedWith('line without a colon', `GET / HTTP/1.1\r\n${H}nonsense\r\n\r\n`, 400),
  refusedWith('folded first line', `GET / HTTP/1.1\r\n X: y\r\n${H}\r\n`, 400),
  refusedWith('head too large', `GET / HTTP/1.1\r\n${H}X: ${'a'.repeat(20_000)}\r\n\r\n`, 431),
  refusedWith('too many fields', `GET / HTTP/1.1\r\n${H}${'A: b\r\n'.repeat(200)}\r\n`, 431),
  refusedWith('target too large', `GET /${'a'.repeat(20_000)} HTTP/1.1\r\n${H}\r\n`, 414),
  refusedWith('another expectation', `POST / HTTP/1.1\r\n${H}Expect: 200-ok\r\nContent-Length: 1\r\n\r\nx`, 417),
  refusedWith('a head that never ends', `GET / HTTP/1.1\r\n${H}X: y`, 408),
  // Switching protocols.
  refusedWith(
    'upgrade with a body',
    `GET / HTTP/1.1\r\n${H}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello`,
    400,
  ),
  {
    name: 'h2c is not taken up',
    send: `GET /h2c HTTP/1.1\r\n${H}Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`,
    statuses: [200],
    reaches: ['GET /h2c '],
  },
  {
    name: 'upgrade that Connection does not name is ignored',
    send: `GET /noup HTTP/1.1\r\n${H}Upgrade: websocket\r\nConnection: close\r\n\r\n`,
    statuses: [200],
    reaches: ['GET /noup '],
  },
  { name: 'garbage', send: '\x16\x03\x01\x00\xa5\x01\x00\x00', statuses: [400] },
];

for (const { name, send, statuses, reaches = [] } of CASES) {
  test(name, async () => {
    const text = await edge.raw(Buffer.from(send, 'latin1'));
    const got = [...text.matchAll(/(?:^|\})HTTP\/1\.1 (\d{3}) /gm)].map((match) => Number(match[1]));
    assert.deepEqual(got, statuses, text.slice(0, 300));
    if (statuses.length === 0) return;
    const saw = seen.map(({ method, target, body }) => `${method} ${target} ${body}`);
    assert.deepEqual(saw, reaches);
  });
}

test('there are enough cases', () => assert.ok(CASES.length >= 80));

test('names with an underscore or a dot are dropped', async () => {
  await edge.raw(
    `GET / HTTP/1.1\r\n${H}content_length: 5\r\nX_Forwarded_For: 1.2.3.4\r\nx.real.ip: 1.2.3.4\r\nx-fine: 1\r\nConnection: close\r\n\r\n`,
  );
  const names = seen[0]?.fields.map(([field]) => field) ?? [];
  assert.ok(names.includes('x-fine'));
  assert.deepEqual(
    names.filter((field) => /[_.]/.test(field)),
    [],
  );
});

test('a client cannot say who it is, nor take our word away', async () => {
  await edge.raw(
    [
      `GET / HTTP/1.1\r\n${H}X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Prefix: /x`,
      'X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Request-ID: forged\r\nTrue-Client-IP: 6.6.6.6',
      'Proxy-Authorization: secret\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\nKeep-Alive: 5\r\nX-Hop: 1',
      'Connection: close, X-Hop, X-Forwarded-For, X-Real-IP, Forwarded\r\n\r\n',
    ].join('\r\n'),
  );
  const fields = seen[0]?.fields ?? [];
  assert.doesNotMatch(JSON.stringify(fields), /6\.6\.6\.6|evil|forged|secret|x-hop|prefix|proxy-|keep-alive|"te"/i);
  const all = new Map(fields);
  assert.equal(all.get('x-forwarded-for'), '127.0.0.1');
  assert.equal(all.get('x-real-ip'), '127.0.0.1');
  assert.equal(all.get('x-forwarded-proto'), 'https');
  assert.equal(all.get('x-forwarded-host'), HOST);
  assert.equal(all.get('forwarded'), `for=127.0.0.1;host="${HOST}";proto=https`);
});

test('trailers cannot carry what decides', async () => {
  await edge.raw(
    `POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nx-sum: 1\r\nHost: evil\r\nAuthorization: x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n`,
  );
  assert.deepEqual(seen[0]?.trailers, [['x-sum', '1']]);
});
