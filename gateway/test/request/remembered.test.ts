/** What is remembered of fields that repeat says nothing about the request, the client or the user it was learnt from. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allFields, isMoatError, type FieldList, type RequestHead } from '@moat/core';
import type { ClientRequest } from '../../src/request/client-request.ts';
import { inwardHead } from '../../src/request/edge.ts';
import { headText } from '../../src/request/http1-answer.ts';
import { readHead } from '../../src/request/http1-head.ts';
import { parseHead, type ParsedHead } from '../../src/request/parse.ts';
import { checkAnswer } from '../../src/request/respond.ts';

const SECTION = 'Host: shop.localhost\r\nAuthorization: Basic eA==\r\nX-Forwarded-For: 9.9.9.9\r\nAccept: */*\r\n';
const RULES = { scheme: 'https' } as const;

function parse(line: string, section = SECTION): ParsedHead {
  return parseHead(readHead(`${line}\r\n${section}`, 8), RULES);
}

function inward(head: ParsedHead, address: string, user?: string): RequestHead {
  const request = { id: `id-${address}`, client: { address, port: 1 } } as ClientRequest;
  return inwardHead(
    request,
    head,
    { domain: 'localhost' },
    user === undefined ? undefined : { user, byPassword: true },
  );
}

test('the same section is the same list, whatever the request line', () => {
  const first = parse('GET /a HTTP/1.1');
  const second = parse('POST /b HTTP/1.0');
  assert.equal(second.fields, first.fields);
  assert.deepEqual([second.method, second.target, second.version, second.wantsClose], ['POST', '/b', '1.0', true]);
  assert.notEqual(parse('GET /a HTTP/1.1', SECTION.replace('eA', 'eB')).fields, first.fields);
});

test('a section is read with the rules of its own request', () => {
  const section = 'Host: shop.localhost\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n';
  assert.equal(parse('POST / HTTP/1.1', section).expectsContinue, true);
  assert.throws(() => parse('POST / HTTP/1.0', section), { code: 'REQUEST_MALFORMED' });
  const text = `GET / HTTP/1.1\r\n${SECTION}`;
  assert.equal(readHead(text, 4).fields.length, 4);
  assert.throws(() => readHead(text, 3), { code: 'HEAD_TOO_LARGE' });
  for (let again = 0; again < 2; again++) {
    assert.throws(() => parse('GET / HTTP/1.1', 'Host: a\r\nHost: a\r\n'), { code: 'REQUEST_MALFORMED' });
  }
});

test('a section that two connections send is for the host it says, whatever name each was opened for', () => {
  const section = 'Host: SHOP.localhost:8443\r\n';
  for (const servername of ['shop.localhost', 'other.localhost', 'SHOP.localhost:8443', 'shop.localhost']) {
    const head = parseHead(readHead(`GET / HTTP/1.1\r\n${section}`, 8), { ...RULES, servername });
    const isName = servername === 'SHOP.localhost:8443';
    assert.deepEqual(
      [head.host, head.authority],
      isName ? [servername, servername] : ['shop.localhost', 'shop.localhost:8443'],
    );
  }
});

test('a section that two clients send goes inward with the address and the user of each', () => {
  const head = parse('GET / HTTP/1.1');
  for (const [address, user] of [['192.0.2.1'], ['2001:db8::1', 'ann'], ['192.0.2.1', 'bob'], ['192.0.2.1']] as const) {
    const fields = new Map(allFields(inward(head, address, user)));
    assert.equal(fields.get('x-forwarded-for'), address);
    assert.equal(fields.get('x-real-ip'), address);
    assert.ok(fields.get('forwarded')?.includes(address));
    assert.equal(fields.get('x-request-id'), `id-${address}`);
    assert.equal(fields.get('x-forwarded-user'), user);
    assert.equal(fields.get('authorization'), user === undefined ? 'Basic eA==' : undefined);
  }
});

test('what repeats of a client goes inward as the same list, without what varies', () => {
  const [first, second] = [inward(parse('GET /1 HTTP/1.1'), '::1'), inward(parse('GET /2 HTTP/1.1'), '::1')];
  assert.equal(second.fields, first.fields);
  assert.deepEqual(first.more, [['x-request-id', 'id-::1']]);
  const via = ({ fields }: RequestHead): string | undefined => new Map(fields).get('via');
  assert.equal(via(inward(parse('GET / HTTP/1.0'), '::1')), '1.0 localhost');
  assert.equal(via(first), '1.1 localhost');
});

test('an answer that repeats is framed for each request as for the first', () => {
  const fields: FieldList = [
    ['content-length', '3'],
    ['connection', 'x-hop'],
    ['x-hop', '1'],
    ['date', 'now'],
  ];
  const get = parse('GET / HTTP/1.1');
  for (let again = 0; again < 2; again++) {
    const whole = checkAnswer({ status: 200, fields }, get, { domain: 'localhost' });
    assert.deepEqual([whole.contentLength, whole.hasBody], [3, true]);
    const framed = [
      ['content-length', '3'],
      ['date', 'now'],
    ];
    assert.deepEqual(whole.fields, framed);
    const head = checkAnswer({ status: 200, fields }, parse('HEAD / HTTP/1.1'), { domain: 'localhost' });
    assert.deepEqual([head.fields, head.contentLength, head.hasBody], [framed, undefined, false]);
    const none = checkAnswer({ status: 204, fields }, get, { domain: 'localhost' });
    assert.deepEqual(none.fields, [['date', 'now']]);
  }
});

test('an invalid answer is refused each time', () => {
  const fields: FieldList = [['x', 'a\r\nb: c']];
  for (let again = 0; again < 2; again++) {
    const check = (): unknown => checkAnswer({ status: 200, fields }, parse('GET / HTTP/1.1'), { domain: 'localhost' });
    assert.throws(check, (error: unknown) => isMoatError(error, 'ANSWER_INVALID'));
  }
});

test('a cookie that two hosts set with the same list is narrowed for each', () => {
  const fields: FieldList = [['set-cookie', 'a=1; Domain=localhost']];
  const cookieOf = (host: string): string | undefined => {
    const head = parse('GET / HTTP/1.1', `Host: ${host}\r\n`);
    return checkAnswer({ status: 200, fields }, head, { domain: 'localhost' }).fields[0]?.[1];
  };
  assert.equal(cookieOf('shop.localhost'), 'a=1');
  assert.equal(cookieOf('example.org'), 'a=1; Domain=localhost');
  assert.equal(cookieOf('shop.localhost'), 'a=1');
});

test('the same fields are written for each version, method, status and end of the connection', () => {
  const fields: FieldList = [['x', '1']];
  const text = (status: number, method: string, version: '1.0' | '1.1', closes: boolean): string =>
    headText(status, fields, { method, version, closes }).text.replace(/Date: .*\r\n/, '');
  for (let again = 0; again < 2; again++) {
    assert.equal(text(200, 'GET', '1.1', false), 'HTTP/1.1 200 OK\r\nx: 1\r\nTransfer-Encoding: chunked\r\n\r\n');
    assert.equal(text(200, 'GET', '1.0', false), 'HTTP/1.1 200 OK\r\nx: 1\r\nConnection: close\r\n\r\n');
    assert.equal(text(200, 'HEAD', '1.1', false), 'HTTP/1.1 200 OK\r\nx: 1\r\n\r\n');
    assert.equal(text(404, 'HEAD', '1.1', true), 'HTTP/1.1 404 Not Found\r\nx: 1\r\nConnection: close\r\n\r\n');
  }
});
