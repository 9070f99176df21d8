import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { suite, test } from 'node:test';
import { promisify } from 'node:util';
import { isMoatError, silentLogger } from '@moat/core';
import { checkLeaks } from '@moat/testkit';
import { decode, encode, type DecodedPacket, type RecordType } from 'dns-packet';
import fc from 'fast-check';
import { createDns, dnsPlaces, type DnsServer, type SocketAddress } from '../../src/index.ts';
import { forwardDns } from '../../src/rootless/dns-forward.ts';
import { readDnsMessage, truncated } from '../../src/rootless/dns-message.ts';

const SERVICES = [
  { name: 'db', network: 'shop', address: '127.1.2.3', port: 5432 },
  { name: 'web', network: 'shop', address: '127.1.2.4', port: 20_080 },
  { name: 'db', network: 'blog', address: '127.1.2.5', port: 5432 },
];
const FREE = { host: '127.0.0.1', port: 0 };

function serve(upstreams: readonly SocketAddress[] = []): Promise<DnsServer> {
  return createDns({ services: () => SERVICES, upstreams: () => Promise.resolve(upstreams), logger: silentLogger }, [
    FREE,
  ]);
}

function question(name: string, type: RecordType = 'A', id = 7): Buffer {
  return encode({ id, type: 'query', flags: 0x100, questions: [{ name, type }] });
}

async function askUdp({ host, port }: SocketAddress, message: Buffer): Promise<DecodedPacket> {
  const socket = createSocket('udp4');
  try {
    socket.send(message, port, host);
    const [answer] = (await once(socket, 'message', { signal: AbortSignal.timeout(5_000) })) as [Buffer];
    return decode(answer);
  } finally {
    socket.close();
  }
}

async function askTcp({ host, port }: SocketAddress, bytes: Buffer): Promise<Buffer> {
  const socket = connect({ host, port });
  socket.on('error', () => undefined);
  socket.end(bytes);
  const chunks: Buffer[] = [];
  for await (const chunk of socket as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function framed(...messages: readonly Buffer[]): Buffer {
  return Buffer.concat(messages.flatMap((message) => [Buffer.of(message.length >> 8, message.length & 255), message]));
}

/** What the DNS says to one question, in short. */
function say(name: string, type: RecordType): string {
  const reading = readDnsMessage(question(name, type), () => SERVICES);
  if (reading.kind !== 'answer') return reading.kind;
  const { answers, authorities } = decode(reading.answer);
  const rcode = (decode(reading.answer) as unknown as { rcode: string }).rcode;
  const data = (answers ?? []).map((each) => JSON.stringify('data' in each ? each.data : null));
  return [rcode, ...data, ...(authorities ?? []).map((each) => each.type)].join(' ');
}

suite('dns: what is said', () => {
  const table: readonly (readonly [string, RecordType, string])[] = [
    ['db.shop.internal', 'A', 'NOERROR "127.1.2.3"'],
    ['DB.Shop.Internal', 'A', 'NOERROR "127.1.2.3"'],
    ['db.blog.internal', 'A', 'NOERROR "127.1.2.5"'],
    ['db.shop.internal', 'AAAA', 'NOERROR SOA'],
    ['db.shop.internal', 'TXT', 'NOERROR SOA'],
    ['_web._tcp.shop.internal', 'SRV', 'NOERROR {"priority":0,"weight":0,"port":20080,"target":"web.shop.internal"}'],
    ['_web._tcp.shop.internal', 'A', 'NOERROR SOA'],
    ['_tcp.shop.internal', 'A', 'NOERROR SOA'],
    ['shop.internal', 'A', 'NOERROR SOA'],
    ['internal', 'A', 'NOERROR SOA'],
    ['mail.shop.internal', 'A', 'NXDOMAIN SOA'],
    ['x.db.shop.internal', 'A', 'NXDOMAIN SOA'],
    ['other.internal', 'A', 'NXDOMAIN SOA'],
    ['example.com', 'A', 'foreign'],
    ['notinternal', 'A', 'foreign'],
  ];
  for (const [name, type, said] of table) test(`${type} ${name}`, () => assert.equal(say(name, type), said));

  test('the question comes back letter by letter', () => {
    const reading = readDnsMessage(question('dB.sHoP.iNtErNaL'), () => SERVICES);
    assert.ok(reading.kind === 'answer');
    const { questions, answers, id } = decode(reading.answer);
    assert.deepEqual([questions?.[0]?.name, answers?.[0]?.name, id], ['dB.sHoP.iNtErNaL', 'dB.sHoP.iNtErNaL', 7]);
  });

  test('an answer gets no answer, another opcode and two questions get an error', () => {
    const answered = question('db.shop.internal');
    answered[2] = (answered[2] as number) | 0x80;
    assert.equal(readDnsMessage(answered, () => SERVICES).kind, 'nothing');
    const update = question('db.shop.internal');
    update[2] = 0x28;
    const two = encode({
      type: 'query',
      questions: [
        { name: 'a', type: 'A' },
        { name: 'b', type: 'A' },
      ],
    });
    const rcodes = [update, two].map((message) => {
      const reading = readDnsMessage(message, () => SERVICES);
      return reading.kind === 'answer' && (reading.answer[3] as number) & 15;
    });
    assert.deepEqual(rcodes, [4, 1]);
  });

  test('random bytes never throw, and every answer is readable', () => {
    const heads = fc.oneof(fc.constant(Buffer.alloc(0)), fc.constant(question('db.shop.internal')));
    fc.assert(
      fc.property(heads, fc.uint8Array({ maxLength: 600 }), fc.nat(30), (head, tail, cut) => {
        const message = Buffer.concat([head.subarray(0, head.length === 0 ? 0 : cut), tail]);
        const reading = readDnsMessage(message, () => SERVICES);
        if (reading.kind === 'answer') decode(reading.answer);
        if (reading.kind === 'foreign') decode(reading.failure('REFUSED'));
      }),
      { numRuns: 3_000 },
    );
  });

  test('an answer too long for a packet is marked as cut', () => {
    const long = Buffer.concat([question('db.shop.internal'), Buffer.alloc(2_000)]);
    const cut = truncated(long);
    assert.equal(cut.length, 12);
    assert.equal(decode(cut).flag_tc, true);
  });
});

suite('dns: the server', () => {
  test('answers by UDP and by TCP, several questions on one connection', async () => {
    await using _ = checkLeaks();
    await using dns = await serve();
    const byUdp = await askUdp(dns, question('db.shop.internal'));
    assert.deepEqual([byUdp.answers?.length, byUdp.flag_aa, byUdp.id], [1, true, 7]);
    const bytes = await askTcp(dns, framed(question('db.shop.internal'), question('web.shop.internal', 'A', 8)));
    const second = decode(bytes.subarray(2 + bytes.readUInt16BE(0) + 2));
    assert.equal(second.id, 8);
  });

  test('without servers of others, their names are refused', async () => {
    await using dns = await serve();
    const { rcode } = (await askUdp(dns, question('example.com'))) as unknown as { rcode: string };
    assert.equal(rcode, 'REFUSED');
  });

  test('other names go to the first server that answers; a dead one is passed over, a forged answer ignored', async () => {
    await using _ = checkLeaks();
    await using closed = await serve();
    await closed.stop();
    const relay = createSocket('udp4').bind(0, '127.0.0.1');
    await once(relay, 'listening');
    relay.on('message', (message, from) => {
      const { id, questions } = decode(message);
      const forged = encode({ id: (id ?? 0) ^ 1, type: 'response', questions: questions ?? [] });
      relay.send(forged, from.port, from.address);
      const answers = [{ name: 'example.com', type: 'A' as const, ttl: 9, data: '192.0.2.1' }];
      relay.send(
        encode({ id: id ?? 0, type: 'response', questions: questions ?? [], answers }),
        from.port,
        from.address,
      );
    });
    await using dns = await serve([
      { host: closed.host, port: closed.port },
      { host: '127.0.0.1', port: relay.address().port },
    ]);
    const answer = await askUdp(dns, question('example.com'));
    relay.close();
    const [first] = answer.answers ?? [];
    assert.deepEqual([answer.id, first?.type === 'A' && first.data], [7, '192.0.2.1']);
  });

  test('who has no server to ask, or one that hangs up, gets its own code', async () => {
    await using _leaks = checkLeaks();
    const silent = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const { port } = silent.address() as AddressInfo;
    for (const servers of [[], [{ host: '127.0.0.1', port }]]) {
      await assert.rejects(forwardDns(question('example.com'), servers, true, AbortSignal.timeout(5_000)), (error) =>
        isMoatError(error, 'UPSTREAM_SILENT'),
      );
    }
    await new Promise((resolve) => silent.close(resolve));
  });

  test('a server that is away ends in SERVFAIL', async () => {
    await using closed = await serve();
    await closed.stop();
    await using dns = await serve([{ host: closed.host, port: closed.port }]);
    const { rcode } = (await askUdp(dns, question('example.com'))) as unknown as { rcode: string };
    assert.equal(rcode, 'SERVFAIL');
  });

  test('an oversize question, random bytes and silence end a TCP connection; the port goes on', async () => {
    await using _ = checkLeaks();
    await using dns = await serve();
    assert.equal((await askTcp(dns, Buffer.of(0xff, 0xff, 1, 2, 3))).length, 0);
    assert.equal((await askTcp(dns, framed(Buffer.alloc(5)))).length, 0);
    assert.equal((await askUdp(dns, question('db.shop.internal'))).answers?.length, 1);
  });

  test('more connections than it holds are closed, and UDP answers meanwhile', async () => {
    await using _ = checkLeaks();
    await using dns = await serve();
    const sockets = Array.from({ length: 80 }, () => connect({ host: dns.host, port: dns.port }).on('error', () => {}));
    const closed = sockets.map((socket) => once(socket.resume(), 'close'));
    await Promise.any(closed);
    assert.equal((await askUdp(dns, question('db.shop.internal'))).answers?.length, 1);
    for (const socket of sockets) socket.destroy();
    await Promise.all(closed);
  });

  test('the address is the same every time, and another one for another machine', () => {
    assert.deepEqual(dnsPlaces('one'), dnsPlaces('one'));
    assert.notEqual(dnsPlaces('one')[0]?.host, dnsPlaces('two')[0]?.host);
    assert.match(dnsPlaces('one')[0]?.host ?? '', /^127\.[1-9]\d*\.\d+\.53$/);
  });

  test('dig understands it', async (t) => {
    await using dns = await serve();
    const dig = async (...args: string[]): Promise<string> => {
      const at = [`@${dns.host}`, '-p', String(dns.port), '+time=2', '+tries=1', ...args];
      return (await promisify(execFile)('dig', at)).stdout;
    };
    try {
      await promisify(execFile)('dig', ['-v']);
    } catch {
      return t.skip('dig is not installed');
    }
    assert.equal((await dig('+short', 'db.shop.internal')).trim(), '127.1.2.3');
    assert.equal(
      (await dig('+short', '+tcp', 'SRV', '_web._tcp.shop.internal')).trim(),
      '0 0 20080 web.shop.internal.',
    );
    const nothing = await dig('AAAA', 'db.shop.internal');
    assert.match(nothing, /status: NOERROR/);
    assert.match(nothing, /ANSWER: 0, AUTHORITY: 1/);
    assert.match(await dig('nobody.shop.internal'), /status: NXDOMAIN/);
    assert.match(await dig('example.com'), /status: REFUSED/);
    assert.doesNotMatch(await dig('db.shop.internal'), /WARNING|malformed/i);
  });
});
