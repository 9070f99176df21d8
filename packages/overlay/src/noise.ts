/** libp2p's Noise as it is, but for the speed of large messages: same handshake, same bytes on the wire. */
import type { ConnectionEncrypter, MessageStream } from '@libp2p/interface';
import { noise, type NoiseComponents, type NoiseExtensions } from '@libp2p/noise';
import { open, seal, type Bytes } from './noise-cipher.ts';

/** Below it libp2p's own cipher, in WebAssembly, costs less; measured with 400, too, which was worse. */
const LARGE_BYTES = 1200;

/** A message with more goes to the socket in its pieces. */
const JOINED_BYTES = 16 * 1024;

/** What libp2p's Noise calls for each message, as its class declares it. */
interface Ciphers {
  encrypt: (plaintext: Bytes, nonce: Uint8Array, ad: Uint8Array, key: Uint8Array) => Bytes;
  decrypt: (ciphertext: Bytes, nonce: Uint8Array, ad: Uint8Array, key: Uint8Array, into?: Uint8Array) => Bytes;
}

type Encrypter = ConnectionEncrypter<NoiseExtensions>;

/** What libp2p takes as one of its `connectionEncrypters`. */
export function tunedNoise(): (components: NoiseComponents) => Encrypter {
  const create = noise();
  return (components) => {
    const encrypter = create(components) as Encrypter & { readonly crypto: Ciphers };
    const { crypto } = encrypter;
    const { encrypt, decrypt } = crypto;
    crypto.encrypt = (plaintext, ...rest) =>
      plaintext.byteLength < LARGE_BYTES ? encrypt(plaintext, ...rest) : seal(plaintext, ...rest);
    crypto.decrypt = (ciphertext, nonce, ad, key, into) =>
      ciphertext.byteLength < LARGE_BYTES
        ? decrypt(ciphertext, nonce, ad, key, into)
        : open(ciphertext, nonce, ad, key);
    const secureInbound = encrypter.secureInbound.bind(encrypter);
    const secureOutbound = encrypter.secureOutbound.bind(encrypter);
    encrypter.secureInbound = async (connection, options) =>
      withoutStacks(await secureInbound(inOnePiece(connection), options));
    encrypter.secureOutbound = async (connection, options) =>
      withoutStacks(await secureOutbound(inOnePiece(connection), options));
    return encrypter;
  };
}

/** What its decoder of lengths is told when there is none yet. */
const NOTHING_YET = new RangeError('no whole length yet');

/** libp2p finds out that it has read all there is by an error, whose stack cost a keeper a twentieth of its CPU time. */
function withoutStacks<S extends { readonly connection: unknown }>(secured: S): S {
  const { decoder } = secured.connection as { readonly decoder: { lengthDecoder: (bytes: Bytes) => number } };
  const { lengthDecoder } = decoder;
  decoder.lengthDecoder = (bytes) => {
    if (bytes.byteLength < 2) throw NOTHING_YET;
    return lengthDecoder(bytes);
  };
  return secured;
}

/**
 * A message is a length, pieces and a tag, and libp2p's TCP makes a system call and a packet of each. To copy a large one
 * costs as much as it saves. Measured: a request of 1 KiB alone 114 and 102 µs of CPU, both ends, with `noise-cipher.ts`.
 */
function inOnePiece<C extends Pick<MessageStream, 'send'>>(connection: C): C {
  const send = connection.send.bind(connection);
  connection.send = (data) =>
    send(data instanceof Uint8Array || data.byteLength > JOINED_BYTES ? data : data.subarray());
  return connection;
}
