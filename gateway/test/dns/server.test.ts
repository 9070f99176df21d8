/** The sockets of the gateway's DNS, asked by dig and by hand. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { suite, test } from 'node:test';
import { promisify } from 'node:util';
import { silentLogger, systemClock, type Clock } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { decode } from 'dns-packet';
import { prefixOf } from '../../src/dns/prefix.ts';
import { DnsServer } from '../../src/dns/server.ts';
import type { ZoneView } from '../../src/dns/zone.ts';
import { queryOf, zone } from './zone.ts';

const noDig = spawnSync('dig', ['-v']).error === undefined ? false : 'dig (bind9-dnsutils) is not installed';

async function started(view: ZoneView, clock: Clock = systemClock): Promise<DnsServer & { readonly port: number }> {
  const server = new DnsServer({ clock, logger: silentLogger, zone: view }, [{ host: '127.0.0.1', port: 0 }]);
  await server.start({ signal: AbortSignal.timeout(5_000) });
  return Object.defineProperty(server, 'port', { value: server.ports[0] }) as DnsServer & { readonly port: number };
}

async function dig(port: number, ...args: readonly string[]): Promise<string> {
  const asked = ['@127.0.0.1', '-p', String(port), '+tries=1', '+time=3', ...args];
  return (await promisify(execFile)('dig', asked)).stdout;
}

suite('dig', { skip: noDig }, () => {
  test('finds addresses, servers, texts and who may issue; over UDP and TCP', async () => {
    const view = zone({
      texts: new Map([['_psl.apps.example.com', ['https://example.com/psl']]]),
      caa: () => [{ tag: 'issue', value: 'ca.example; accounturi=https://ca.example/1' }],
    });
    await using server = await started(view);
    for (const way of ['+notcp', '+tcp']) {
      assert.equal(await dig(server.port, way, '+short', 'shop.apps.example.com', 'A'), '192.0.2.1\n');
      assert.equal(await dig(server.port, way, '+short', 'shop.apps.example.com', 'AAAA'), '2001:db8::1\n');
      assert.equal(
        await dig(server.port, way, '+short', '_psl.apps.example.com', 'TXT'),
        '"https://example.com/psl"\n',
      );
      assert.match(await dig(server.port, way, 'apps.example.com', 'NS'), /\tNS\tns1\.apps\.example\.com\.\n/);
      assert.match(await dig(server.port, way, 'apps.example.com', 'SOA'), /hostmaster\.apps\.example\.com\. 7 /);
    }
    const caa = await dig(server.port, '+short', 'apps.example.com', 'CAA');
    assert.equal(caa, '0 issue "ca.example; accounturi=https://ca.example/1"\n');
  });

  test('sees status, flags and authority as they are', async () => {
    await using server = await started(zone());
    const absent = await dig(server.port, 'a.b.apps.example.com');
    assert.match(absent, /status: NXDOMAIN/);
    assert.match(absent, /flags: qr aa rd;/);
    assert.match(absent, /AUTHORITY SECTION:\napps\.example\.com\.\s+30\s+IN\s+SOA/);
    assert.doesNotMatch(absent, /malformed|messages? warning|extra/i);
    const empty = await dig(server.port, 'shop.apps.example.com', 'MX');
    assert.match(empty, /status: NOERROR[\s\S]*ANSWER: 0, AUTHORITY: 1/);
    assert.match(await dig(server.port, 'example.org'), /status: REFUSED/);
    assert.match(await dig(server.port, '+notcp', 'apps.example.com', 'ANY'), /HINFO\t"RFC8482" ""/);
    assert.match(await dig(server.port, 'apps.example.com', 'AXFR'), /Transfer failed/);
    assert.match(await dig(server.port, '+edns=1', '+noednsneg', 'apps.example.com'), /status: BADVERS/);
  });

  test('comes back over TCP for what UDP cannot carry', async () => {
    await using server = await started(zone({ texts: new Map([['big.apps.example.com', ['x'.repeat(1_400)]]]) }));
    const [text] = (await dig(server.port, '+ignore', 'big.apps.example.com', 'TXT')).match(/flags: [^;]*/) ?? [''];
    assert.match(text, / tc/);
    const whole = await dig(server.port, '+short', 'big.apps.example.com', 'TXT');
    assert.equal(whole.replaceAll(/[^x]/g, '').length, 1_400);
  });
});

suite('RFC 7766: TCP', () => {
  test('questions in one piece or in bytes are answered in order', async () => {
    await using server = await started(zone());
    const socket = connect(server.port, '127.0.0.1');
    await once(socket, 'connect');
    const questions = ['a', 'b', 'c'].map((label) => framed(queryOf(`${label}.apps.example.com`, 'A')));
    socket.write(Buffer.concat(questions));
    assert.deepEqual(
      (await answers(socket, 3)).map((answer) => answer.questions?.[0]?.name),
      ['a.apps.example.com', 'b.apps.example.com', 'c.apps.example.com'],
    );
    for (const byte of framed(queryOf('d.apps.example.com', 'A'))) socket.write(Buffer.of(byte));
    assert.equal((await answers(socket, 1))[0]?.questions?.[0]?.name, 'd.apps.example.com');
    socket.destroy();
  });

  test('a question longer than any real one, and more connections than an address may have, are cut off', async () => {
    await using server = await started(zone());
    const long = connect(server.port, '127.0.0.1');
    long.write(Buffer.of(0xff, 0xff));
    await once(long, 'close');
    const many = Array.from({ length: 17 }, () => connect(server.port, '127.0.0.1'));
    const cut = await Promise.race(many.map((socket) => once(socket, 'close').then(() => true)));
    assert.equal(cut, true);
    for (const socket of many) socket.destroy();
  });
});

test('one prefix gets a hundred answers a second over UDP; of the rest half are sent to TCP, half dropped', async () => {
  await using server = await started(zone(), createManualClock());
  const socket = createSocket('udp4');
  const flags: boolean[] = [];
  socket.on('message', (message) => flags.push(decode(message).flag_tc));
  const query = queryOf('apps.example.com', 'A');
  // A few at a time, so that no buffer of the system overflows.
  for (let sent = 20; sent <= 300; sent += 20) {
    for (let i = 0; i < 20; i++) socket.send(query, server.port, '127.0.0.1');
    const answered = Math.min(sent, 50 + sent / 2);
    while (flags.length < answered) await once(socket, 'message');
  }
  // What was sent last is answered last: a TCP question behind it is answered when all of them were read.
  const tcp = connect(server.port, '127.0.0.1');
  tcp.write(framed(query));
  await answers(tcp, 1);
  tcp.destroy();
  socket.close();
  assert.deepEqual([flags.filter((isCut) => !isCut).length, flags.length], [100, 200]);
});

test('a port that is taken is a coded refusal', async () => {
  await using server = await started(zone());
  const second = new DnsServer({ clock: systemClock, logger: silentLogger, zone: zone() }, [
    { host: '127.0.0.1', port: server.port },
  ]);
  await assert.rejects(second.start({ signal: AbortSignal.timeout(5_000) }), { code: 'LISTEN_FAILED' });
});

test('prefixes', () => {
  assert.equal(prefixOf('192.0.2.77'), '192.0.2');
  assert.equal(prefixOf('::ffff:192.0.2.1'), '192.0.2');
  assert.equal(prefixOf('2001:db8:0:1234::1'), prefixOf('2001:db8::12ff:1:2:3:4'));
  assert.notEqual(prefixOf('2001:db8:0:1234::1'), prefixOf('2001:db8:0:1334::1'));
});

function framed(message: Buffer): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(message.length);
  return Buffer.concat([head, message]);
}

async function answers(socket: Socket, count: number): Promise<ReturnType<typeof decode>[]> {
  const found: ReturnType<typeof decode>[] = [];
  let bytes = Buffer.alloc(0);
  while (found.length < count) {
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    bytes = Buffer.concat([bytes, chunk]);
    while (bytes.length >= 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
      found.push(decode(bytes.subarray(2, 2 + bytes.readUInt16BE(0))));
      bytes = bytes.subarray(2 + bytes.readUInt16BE(0));
    }
  }
  return found;
}
