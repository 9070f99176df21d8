/** Headers of the PROXY protocol: what they say, and what is none. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp, type Socket } from 'node:net';
import { test } from 'node:test';
import { connect } from 'node:tls';
import fc from 'fast-check';
import { ProxyHeaderRefused, readProxyHeader } from '../../src/request/proxy-header.ts';
import { EdgeUnderTest, HOST, readAll } from '../edge-under-test.ts';
import { answering } from '../member.ts';

const SIGNATURE = '0d0a0d0a000d0a515549540a';
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const TCP4 = `${SIGNATURE} 21 11 000c cb007109 c0000201 c822 01bb`;
const TCP6 = `${SIGNATURE} 21 21 0024 20010db8000000000000000000000001 20010db8000000000000000000000002 c822 01bb`;

const READ: readonly (readonly [bytes: Buffer, client: string | undefined])[] = [
  [Buffer.from('PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n'), '203.0.113.9 51234'],
  [Buffer.from('PROXY TCP6 2001:DB8::1 2001:db8::2 0 65535\r\n'), '2001:db8::1 0'],
  [Buffer.from('PROXY TCP6 ::ffff:203.0.113.9 ::1 1 2\r\n'), '203.0.113.9 1'],
  [Buffer.from('PROXY UNKNOWN\r\n'), undefined],
  [Buffer.from('PROXY UNKNOWN ffff:f ffff:f 65535 65535\r\n'), undefined],
  [hex(TCP4), '203.0.113.9 51234'],
  [hex(TCP6), '2001:db8::1 51234'],
  [hex(`${SIGNATURE} 21 21 0024 00000000000000000000ffffcb007109 ${'00'.repeat(16)} c822 01bb`), '203.0.113.9 51234'],
  [hex(`${SIGNATURE} 20 00 0000`), undefined],
  [hex(`${SIGNATURE} 20 11 000c cb007109 c0000201 c822 01bb`), undefined],
  [hex(`${SIGNATURE} 21 11 0014 cb007109 c0000201 c822 01bb 02 0005 612e622e63`), '203.0.113.9 51234'],
];

const REFUSED: readonly (readonly [why: string, bytes: Buffer])[] = [
  ['TLS', hex('16030100')],
  ['http', Buffer.from('GET / HTTP/1.1\r\n')],
  ['small letters', Buffer.from('proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n')],
  ['two blanks', Buffer.from('PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n')],
  ['a blank at the end', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n')],
  ['a line feed alone', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 1 1\nxxxxxxxxxxxxx\r\n')],
  ['one address', Buffer.from('PROXY TCP4 1.2.3.4 1 1\r\n')],
  ['a port with a zero in front', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n')],
  ['a port that is none', Buffer.from('PROXY TCP4 1.2.3.4 1.2.3.4 65536 1\r\n')],
  ['an address that is none', Buffer.from('PROXY TCP4 1.2.3.256 1.2.3.4 1 1\r\n')],
  ['an address of the other family', Buffer.from('PROXY TCP4 ::1 ::1 1 1\r\n')],
  ['an address that counts in octal', Buffer.from('PROXY TCP4 010.2.3.4 1.2.3.4 1 1\r\n')],
  ['UDP', Buffer.from('PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n')],
  ['a line without end', Buffer.from(`PROXY TCP4 ${'1'.repeat(100)}`)],
  ['version 3', hex(`${SIGNATURE} 31 11 000c ${'00'.repeat(12)}`)],
  ['an unknown command', hex(`${SIGNATURE} 22 11 000c ${'00'.repeat(12)}`)],
  ['UDP in version 2', hex(`${SIGNATURE} 21 12 000c ${'00'.repeat(12)}`)],
  ['a Unix socket', hex(`${SIGNATURE} 21 31 00d8 ${'00'.repeat(216)}`)],
  ['no family', hex(`${SIGNATURE} 21 00 0000`)],
  ['addresses cut short', hex(`${SIGNATURE} 21 11 000b ${'00'.repeat(11)}`)],
  ['64 KiB of extras', hex(`${SIGNATURE} 21 11 ffff ${'00'.repeat(12)}`)],
  ['an extra cut short', hex(`${SIGNATURE} 21 11 000f cb007109 c0000201 c822 01bb 02 0005`)],
];

test('what a header says, wherever it is cut', () => {
  for (const [bytes, client] of READ) {
    const header = readProxyHeader(Buffer.concat([bytes, Buffer.from('rest')]));
    assert.equal(header?.client && `${header.client.host} ${header.client.port}`, client, bytes.toString('latin1'));
    assert.equal(header?.length, bytes.length);
    for (let length = 1; length < bytes.length; length++)
      assert.equal(readProxyHeader(bytes.subarray(0, length)), undefined);
  }
});

for (const [why, bytes] of REFUSED) {
  test(`refused: ${why}`, () => assert.throws(() => readProxyHeader(bytes), ProxyHeaderRefused));
}

test('any bytes are a header, the beginning of one, or refused', () => {
  const beginnings = [Buffer.alloc(0), hex(SIGNATURE), hex(TCP4), Buffer.from('PROXY TCP4 ')];
  fc.assert(
    fc.property(fc.constantFrom(...beginnings), fc.uint8Array({ minLength: 1, maxLength: 200 }), (first, rest) => {
      try {
        readProxyHeader(Buffer.concat([first, rest]));
      } catch (error) {
        assert.ok(error instanceof ProxyHeaderRefused);
      }
    }),
    { numRuns: 2_000 },
  );
});

/** Resolves when it is over, however. */
function over(socket: Socket): Promise<void> {
  return new Promise((resolve) => void socket.once('close', () => resolve()));
}

async function through(edge: EdgeUnderTest, header: Uint8Array): Promise<Socket> {
  const socket = connectTcp({ host: '127.0.0.1', port: edge.edge.httpsPort });
  socket.on('error', () => undefined);
  await once(socket, 'connect');
  socket.write(header);
  return socket;
}

test('behind a load balancer the client of its header counts, byte by byte too', async () => {
  await using edge = await EdgeUnderTest.start({ proxyFrom: ['127.0.0.0/8'] });
  edge.publish({ m1: answering('hello') });
  for (const header of [hex(TCP4), Buffer.from('PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n')]) {
    const balancer = await through(edge, header.subarray(0, 3));
    balancer.write(header.subarray(3));
    const client = connect({ socket: balancer, servername: HOST, ca: edge.ca });
    const all = readAll(client);
    client.write(`GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`);
    assert.match(await all, /hello$/);
  }
  assert.equal((await edge.logged(({ message }) => message === 'request'))['remoteAddress'], '203.0.113.9');
});

test('whoever sends no header there, or is no load balancer, is reset', async () => {
  await using edge = await EdgeUnderTest.start({ proxyFrom: ['127.0.0.1'] });
  for (const bytes of [hex('160301'), Buffer.from('PROXY TCP4 x\r\n')]) {
    const socket = (await through(edge, bytes)).resume();
    await over(socket);
  }
  await using other = await EdgeUnderTest.start({ proxyFrom: ['192.0.2.0/24', '2001:db8::/32'] });
  const stranger = connectTcp({ host: '127.0.0.1', port: other.edge.httpsPort }).on('error', () => undefined);
  await over(stranger.resume());
});
