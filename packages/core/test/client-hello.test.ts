/** What a ClientHello says, however it is cut; and what is refused, with which alert. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { test } from 'node:test';
import { connect, type ConnectionOptions } from 'node:tls';
import fc from 'fast-check';
import { ALERT, ClientHelloReader, HelloRefused, type ClientHello } from '../src/client-hello.ts';

interface Parts {
  readonly name?: string | readonly string[];
  readonly nameType?: number;
  readonly protocols?: readonly string[];
  readonly more?: readonly (readonly [type: number, data: Buffer])[];
  readonly extensions?: Buffer;
  readonly tail?: Buffer;
}

const vector8 = (data: Buffer): Buffer => Buffer.concat([Buffer.of(data.length), data]);
const vector16 = (data: Buffer): Buffer => Buffer.concat([Buffer.of(data.length >> 8, data.length & 255), data]);
const extension = (type: number, data: Buffer): Buffer =>
  Buffer.concat([Buffer.of(type >> 8, type & 255), vector16(data)]);

/** A handshake message. */
function message({ name = 'shop.example', nameType = 0, protocols, more = [], extensions, tail }: Parts = {}): Buffer {
  const names = [name]
    .flat()
    .map((each) => Buffer.concat([Buffer.of(nameType), vector16(Buffer.from(each, 'latin1'))]));
  const list = [
    ...(names.length === 0 ? [] : [extension(0, vector16(Buffer.concat(names)))]),
    ...(protocols === undefined
      ? []
      : [extension(16, vector16(Buffer.concat(protocols.map((text) => vector8(Buffer.from(text))))))]),
    ...more.map(([type, data]) => extension(type, data)),
  ];
  const body = Buffer.concat([
    Buffer.of(3, 3),
    Buffer.alloc(32, 7),
    vector8(Buffer.alloc(32)),
    vector16(Buffer.of(0x13, 0x01)),
    vector8(Buffer.of(0)),
    extensions ?? vector16(Buffer.concat(list)),
    tail ?? Buffer.alloc(0),
  ]);
  return Buffer.concat([Buffer.of(1, body.length >> 16, (body.length >> 8) & 255, body.length & 255), body]);
}

/** Records of at most `size` bytes. */
function records(bytes: Buffer, size: number = 16_384): Buffer {
  const made: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += size) {
    made.push(Buffer.concat([Buffer.of(22, 3, 1), vector16(bytes.subarray(at, at + size))]));
  }
  return Buffer.concat(made);
}

function read(bytes: Buffer, piece: number = bytes.length): ClientHello | undefined {
  const reader = new ClientHelloReader();
  for (let at = 0; at < bytes.length; at += piece) {
    const hello = reader.push(Buffer.from(bytes.subarray(at, at + piece)));
    if (hello === undefined) continue;
    assert.deepEqual(reader.bytes, bytes.subarray(0, Math.min(bytes.length, at + piece)));
    return hello;
  }
  return undefined;
}

function alertOf(bytes: Buffer, piece?: number): number | undefined {
  try {
    read(bytes, piece);
    return undefined;
  } catch (error) {
    assert.ok(error instanceof HelloRefused);
    return error.alert;
  }
}

test('name and protocols, in segments and records of any size', () => {
  const hello = message({ name: 'Shop.Example.', protocols: ['h2', 'http/1.1'] });
  const expected = { serverName: 'Shop.Example.', protocols: ['h2', 'http/1.1'] };
  for (const size of [16_384, 100, 7, 3, 1]) {
    const bytes = records(hello, size);
    for (const piece of [bytes.length, 1_000, 11, 1])
      assert.deepEqual(read(bytes, piece), expected, `${size} ${piece}`);
  }
  const behind = Buffer.concat([records(hello), Buffer.of(20, 3, 3, 0, 1, 1), Buffer.alloc(20_000)]);
  assert.deepEqual(read(behind), expected, 'what follows is for who answers');
});

test('hellos of a real client, with a key share of three kilobytes too', async () => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const cases: readonly ConnectionOptions[] = [
    { maxVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] },
    { minVersion: 'TLSv1.3' },
    { minVersion: 'TLSv1.3', ecdhCurve: 'X25519MLKEM768:X25519', ALPNProtocols: ['acme-tls/1'] },
  ];
  for (const options of cases) {
    const connection = once(server, 'connection') as Promise<[Socket]>;
    const client = connect({ host: '127.0.0.1', port, servername: 'shop.example', ...options });
    client.on('error', () => undefined);
    const [socket] = await connection;
    const reader = new ClientHelloReader();
    let hello: ClientHello | undefined;
    for await (const chunk of socket) {
      hello = reader.push(chunk as Buffer);
      if (hello !== undefined) break;
    }
    assert.deepEqual(hello, { serverName: 'shop.example', protocols: options.ALPNProtocols ?? [] });
    client.destroy();
  }
  server.close();
});

const two = Buffer.from('\x00\x00\x03a.b\x00\x00\x03c.d', 'latin1');
const REFUSED: readonly (readonly [why: string, bytes: Buffer, alert: number])[] = [
  ['no name', records(message({ name: [] })), ALERT.handshakeFailure],
  [
    'an encrypted hello and no outer name',
    records(message({ name: [], more: [[0xfe0d, Buffer.alloc(200)]] })),
    ALERT.handshakeFailure,
  ],
  ['no extensions at all', records(message({ extensions: Buffer.alloc(0) })), ALERT.handshakeFailure],
  ['two names', records(message({ name: ['a.example', 'b.example'] })), ALERT.illegalParameter],
  ['two names in one extension', records(message({ name: [], more: [[0, vector16(two)]] })), ALERT.illegalParameter],
  [
    'the extension twice',
    records(message({ more: [[0, vector16(Buffer.from('\0\0\x03a.b'))]] })),
    ALERT.illegalParameter,
  ],
  [
    'any extension twice',
    records(
      message({
        more: [
          [43, Buffer.of(2, 3, 4)],
          [43, Buffer.of(2, 3, 4)],
        ],
      }),
    ),
    ALERT.illegalParameter,
  ],
  ['a name of another type', records(message({ nameType: 1 })), ALERT.illegalParameter],
  ['NUL in a name', records(message({ name: 'shop.example\0.evil.example' })), ALERT.illegalParameter],
  ['a name that is not ASCII', records(message({ name: 'sh\xf6p.example' })), ALERT.illegalParameter],
  ['a name with a blank', records(message({ name: 'shop example' })), ALERT.illegalParameter],
  ['an empty name', records(message({ name: '' })), ALERT.decodeError],
  ['an empty list of names', records(message({ name: [], more: [[0, Buffer.of(0, 0)]] })), ALERT.decodeError],
  [
    'an empty extension of names, as a server sends',
    records(message({ name: [], more: [[0, Buffer.alloc(0)]] })),
    ALERT.decodeError,
  ],
  [
    'a list of names longer than its extension',
    records(message({ name: [], more: [[0, Buffer.from('\0\x20\0\0\x03a.b')]] })),
    ALERT.decodeError,
  ],
  ['an empty protocol', records(message({ protocols: [''] })), ALERT.decodeError],
  ['no protocols in the list', records(message({ protocols: [] })), ALERT.decodeError],
  ['something behind the extensions', records(message({ tail: Buffer.of(0) })), ALERT.decodeError],
  ['extensions longer than the message', records(message({ extensions: Buffer.of(0xff, 0xff, 0) })), ALERT.decodeError],
  ['a second message in the record', records(Buffer.concat([message(), message()])), ALERT.unexpectedMessage],
  ['no ClientHello', records(Buffer.concat([Buffer.of(2), message().subarray(1)])), ALERT.unexpectedMessage],
  ['an alert', Buffer.of(21, 3, 3, 0, 2, 2, 40), ALERT.unexpectedMessage],
  ['http', Buffer.from('GET / HTTP/1.1\r\n\r\n'), ALERT.unexpectedMessage],
  ['one byte of http', Buffer.from('G'), ALERT.unexpectedMessage],
  ['SSL 2', Buffer.from('802e0100020015000000100100800200800600400400800700c0', 'hex'), ALERT.unexpectedMessage],
  ['no TLS', Buffer.of(22, 2, 0, 0, 5, 1, 0, 0, 1, 0), ALERT.protocolVersion],
  ['an empty record', Buffer.of(22, 3, 1, 0, 0), ALERT.decodeError],
  ['a record of 64 KiB', Buffer.of(22, 3, 1, 0xff, 0xff), ALERT.recordOverflow],
  ['a message of 16 MiB', Buffer.of(22, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff), ALERT.decodeError],
  ['a message of 17 KiB', records(message({ more: [[21, Buffer.alloc(17_000)]] })), ALERT.decodeError],
  [
    'a hello that never ends',
    Buffer.concat([Buffer.of(22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0), Buffer.alloc(16_376)]),
    ALERT.decodeError,
  ],
  [
    'records of one byte without end',
    records(Buffer.concat([Buffer.of(1, 0, 0x30, 0), Buffer.alloc(9_000)]), 1),
    ALERT.decodeError,
  ],
];

for (const [why, bytes, alert] of REFUSED) {
  test(`refused: ${why}`, () => {
    for (const piece of [bytes.length, 1]) assert.equal(alertOf(bytes, piece), alert, `in pieces of ${piece}`);
  });
}

test('a hello that is cut anywhere is waited for', () => {
  const bytes = records(message({ protocols: ['h2'] }), 50);
  for (let length = 0; length < bytes.length; length++) assert.equal(read(bytes.subarray(0, length)), undefined);
});

test('any change of one hello is read, waited for, or refused with an alert; never differently by its pieces', () => {
  const whole = records(message({ protocols: ['h2', 'http/1.1'], more: [[43, Buffer.of(2, 3, 4)]] }), 60);
  const outcome = (bytes: Buffer, piece?: number): string => {
    try {
      return JSON.stringify(read(bytes, piece) ?? 'more');
    } catch (error) {
      assert.ok(error instanceof HelloRefused);
      return `alert ${error.alert}`;
    }
  };
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 4 }),
      fc.nat(whole.length),
      fc.integer({ min: 1, max: 64 }),
      (changes, length, piece) => {
        const bytes = Buffer.from(whole);
        for (const [at, value] of changes) bytes[at] = value;
        const cut = bytes.subarray(0, Math.max(1, length));
        const first = outcome(cut, piece);
        const atOnce = outcome(cut);
        // Whoever hears less may wait where whoever hears more refuses; both never serve different names.
        if (first !== atOnce) assert.ok(first.startsWith('alert') && atOnce.startsWith('alert'), `${first} ${atOnce}`);
      },
    ),
    { numRuns: 2_000 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), (bytes) => void outcome(Buffer.from(bytes))),
    { numRuns: 2_000 },
  );
});
