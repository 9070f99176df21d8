import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { createNodeKey, toLibp2pPrivateKey } from '@moat/identity';
import type { Logger, MessageStream, StreamMessageEvent } from '@libp2p/interface';
import { noise, pureJsCrypto, type NoiseComponents } from '@libp2p/noise';
import { multiaddrConnectionPair } from '@libp2p/utils';
import fc from 'fast-check';
import { open, seal } from '../src/noise-cipher.ts';
import { tunedNoise } from '../src/noise.ts';
import { soon } from './world.fixture.ts';

const bytes = (length: number): fc.Arbitrary<Uint8Array> => fc.uint8Array({ minLength: length, maxLength: length });

describe('ciphers', () => {
  test('seal as RFC 8439 §2.8.2 says', () => {
    const key = Buffer.from('808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f', 'hex');
    const nonce = Buffer.from('070000004041424344454647', 'hex');
    const ad = Buffer.from('50515253c0c1c2c3c4c5c6c7', 'hex');
    const plaintext = Buffer.from(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
    );
    const sealed = Buffer.from(
      'd31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e06' +
        '0b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d2' +
        '6586cec64b61161ae10b594f09e26a7e902ecbd0600691',
      'hex',
    );
    assert.deepEqual(Buffer.from(seal(plaintext, nonce, ad, key).subarray()), sealed);
    assert.deepEqual(Buffer.from(open(sealed, nonce, ad, key).subarray()), plaintext);
  });

  test('agree with another implementation, and open nothing that was changed', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 3000 }),
        bytes(12),
        fc.uint8Array({ maxLength: 40 }),
        bytes(32),
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (plaintext, nonce, ad, key, at, flip) => {
          const sealed = Buffer.from(seal(plaintext, nonce, ad, key).subarray());
          const other = pureJsCrypto.chaCha20Poly1305Encrypt(plaintext, nonce, ad, key).subarray();
          assert.deepEqual(sealed, Buffer.from(other));
          assert.deepEqual(Buffer.from(open(sealed, nonce, ad, key).subarray()), Buffer.from(plaintext));
          const changed = Buffer.from(sealed);
          changed[at % changed.length]! ^= flip;
          assert.throws(() => open(changed, nonce, ad, key));
          assert.throws(() => open(sealed.subarray(0, -1), nonce, ad, key));
          assert.throws(() => open(sealed, nonce, Buffer.concat([ad, Buffer.of(flip)]), key));
          const next = Buffer.from(nonce);
          next[at % next.length]! ^= flip;
          assert.throws(() => open(sealed, next, ad, key));
        },
      ),
      { numRuns: 200 },
    );
  });

  test('open nothing shorter than a tag', () => {
    for (const length of [0, 1, 15]) {
      assert.throws(() => open(new Uint8Array(length), new Uint8Array(12), new Uint8Array(0), new Uint8Array(32)));
    }
  });
});

describe('Noise', () => {
  const sizes = [1, 15, 1183, 1184, 1199, 1200, 1201, 16_384, 65_519, 65_520, 300_000];

  for (const [name, dialer, listener] of [
    ['with itself', tunedNoise(), tunedNoise()],
    ['with libp2p’s own that listens', tunedNoise(), noise()],
    ['with libp2p’s own that dials', noise(), tunedNoise()],
  ] as const) {
    test(`carries messages of every size, ${name}`, async () => {
      const [near, far] = await secured(dialer, listener);
      for (const [from, to] of [
        [near, far],
        [far, near],
      ] as const) {
        for (const size of sizes) {
          const message = randomBytes(size);
          const arrived = read(to, size);
          from.send(message);
          assert.deepEqual(await arrived, message);
        }
      }
    });
  }

  test('sends a message in one piece', async () => {
    const [outbound, inbound] = multiaddrConnectionPair();
    const pieces: number[] = [];
    const send = outbound.send.bind(outbound);
    outbound.send = (data) => {
      pieces.push(data instanceof Uint8Array ? 1 : Infinity);
      return send(data);
    };
    const [near, far] = await secured(tunedNoise(), tunedNoise(), [outbound, inbound]);
    pieces.length = 0;
    const arrived = read(far, 5000);
    near.send(randomBytes(5000));
    await arrived;
    assert.deepEqual(pieces, [1]);
  });

  for (const size of [100, 5000]) {
    test(`ends the connection at a changed byte, and hands on nothing of ${size} bytes`, async () => {
      const [outbound, inbound] = multiaddrConnectionPair();
      const [near, far] = await secured(tunedNoise(), tunedNoise(), [outbound, inbound]);
      const send = outbound.send.bind(outbound);
      let changed = 0;
      outbound.send = (data) => {
        const copy = Uint8Array.from(data.subarray());
        copy[copy.length >> 1]! ^= 1;
        changed += 1;
        return send(copy);
      };
      far.addEventListener('message', () => assert.fail('something was handed on'));
      const gone = new Promise((resolve) => far.addEventListener('close', resolve, { once: true }));
      near.send(randomBytes(size));
      await gone;
      assert.equal(changed, 1);
    });
  }
});

type Factory = ReturnType<typeof tunedNoise> | ReturnType<typeof noise>;

async function secured(
  dialer: Factory,
  listener: Factory,
  [outbound, inbound] = multiaddrConnectionPair(),
): Promise<[near: MessageStream, far: MessageStream]> {
  const options = { signal: soon() };
  const [ours, theirs] = await Promise.all([components(), components()]);
  const [near, far] = await Promise.all([
    dialer(ours).secureOutbound(outbound, options),
    listener(theirs).secureInbound(inbound, options),
  ]);
  return [near.connection, far.connection];
}

async function components(): Promise<NoiseComponents> {
  const privateKey = await toLibp2pPrivateKey(createNodeKey());
  const log: Logger = Object.assign((): void => undefined, {
    enabled: false,
    trace: (): void => undefined,
    error: (): void => undefined,
    newScope: () => log,
  });
  const upgrader = { getStreamMuxers: () => new Map() };
  return { privateKey, logger: { forComponent: () => log }, upgrader } as unknown as NoiseComponents;
}

async function read(stream: MessageStream, length: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let missing = length;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onMessage = (event: StreamMessageEvent): void => {
    pieces.push(event.data.subarray());
    missing -= event.data.byteLength;
    if (missing <= 0) resolve();
  };
  const onClose = (): void => reject(new Error('closed'));
  stream.addEventListener('message', onMessage);
  stream.addEventListener('close', onClose);
  try {
    await promise;
  } finally {
    stream.removeEventListener('message', onMessage);
    stream.removeEventListener('close', onClose);
  }
  return Buffer.concat(pieces);
}
