/**
 * A preshared key that two machines agree on so that both X25519 and ML-KEM-768 (FIPS 203) would have to be broken: who
 * records WireGuard's handshakes today and has a quantum computer later still lacks it. The stream it is agreed over is
 * authenticated; the key is bound to both machines, both WireGuard keys, the deployment, the epoch and every byte sent.
 */
import {
  createHash,
  createHmac,
  createPublicKey,
  decapsulate,
  diffieHellman,
  encapsulate,
  generateKeyPairSync,
  hkdfSync,
  timingSafeEqual,
  type KeyObject,
} from 'node:crypto';

import { MoatError, type DeploymentId, type PeerId } from '@moat/core';

/** Bytes. */
export const X25519_BYTES = 32;
export const MLKEM_PUBLIC_BYTES = 1_184;
export const MLKEM_CIPHERTEXT_BYTES = 1_088;
export const CONFIRMATION_BYTES = 32;
/** Of what names a key. */
export const ID_BYTES = 16;

const DOMAIN = 'moat/psk/1';
/** What precedes a raw public key in SubjectPublicKeyInfo: RFC 8410, RFC 9935. */
const X25519_PREFIX = Buffer.from('302a300506032b656e032100', 'hex');
const MLKEM_PREFIX = Buffer.from('308204b2300b0609608648016503040402038204a100', 'hex');

/** One of the two machines. */
export interface PskEnd {
  readonly peer: PeerId;
  /** As `wg` prints it. */
  readonly publicKey: string;
}

/** What a key is for. */
export interface PskContext {
  readonly deployment: DeploymentId;
  /** The smaller PeerId. */
  readonly initiator: PskEnd;
  readonly responder: PskEnd;
  /** A number that the initiator makes larger each time. */
  readonly epoch: number;
}

export interface PskBegin {
  readonly x25519: Uint8Array;
  readonly mlkem: Uint8Array;
}

export interface PskReply {
  readonly x25519: Uint8Array;
  readonly ciphertext: Uint8Array;
}

/** The key, and what each side shows the other to prove that it has it. */
export interface AgreedPsk {
  /** As `wg` takes it. */
  readonly presharedKey: string;
  readonly initiatorProof: Uint8Array;
  readonly responderProof: Uint8Array;
}

/** The initiator's secret halves, of use once. */
export class PskInitiation {
  readonly #x25519 = generateKeyPairSync('x25519');
  readonly #mlkem = generateKeyPairSync('ml-kem-768');
  readonly begin: PskBegin;

  constructor() {
    this.begin = {
      x25519: rawOf(this.#x25519.publicKey, X25519_BYTES),
      mlkem: rawOf(this.#mlkem.publicKey, MLKEM_PUBLIC_BYTES),
    };
  }

  /** @throws `PSK_INVALID` for keys that are none */
  finish(context: PskContext, reply: PskReply): AgreedPsk {
    return coded(() => {
      const publicKey = x25519Of(reply.x25519);
      const classical = diffieHellman({ privateKey: this.#x25519.privateKey, publicKey });
      const quantum = decapsulate(this.#mlkem.privateKey, reply.ciphertext);
      return derive(context, this.begin, reply, classical, quantum);
    });
  }
}

/** The responder's part. @throws `PSK_INVALID` for keys that are none */
export function respondPsk(
  context: PskContext,
  begin: PskBegin,
): { readonly reply: PskReply; readonly agreed: AgreedPsk } {
  return coded(() => {
    const own = generateKeyPairSync('x25519');
    const classical = diffieHellman({ privateKey: own.privateKey, publicKey: x25519Of(begin.x25519) });
    const { ciphertext, sharedKey } = encapsulate(publicKeyOf(MLKEM_PREFIX, begin.mlkem));
    const reply = { x25519: rawOf(own.publicKey, X25519_BYTES), ciphertext: new Uint8Array(ciphertext) };
    return { reply, agreed: derive(context, begin, reply, classical, new Uint8Array(sharedKey)) };
  });
}

/** True when a proof is the one expected; in constant time. */
export function isProof(shown: Uint8Array, expected: Uint8Array): boolean {
  return shown.length === expected.length && timingSafeEqual(shown, expected);
}

function derive(
  context: PskContext,
  begin: PskBegin,
  reply: PskReply,
  classical: Uint8Array,
  quantum: Uint8Array,
): AgreedPsk {
  const { deployment, epoch, initiator, responder } = context;
  // Lengths are fixed, so the order alone says which byte is whose.
  const salt = createHash('sha256')
    .update(begin.x25519)
    .update(begin.mlkem)
    .update(reply.x25519)
    .update(reply.ciphertext)
    .digest();
  const info = JSON.stringify([
    DOMAIN,
    deployment,
    initiator.peer,
    responder.peer,
    initiator.publicKey,
    responder.publicKey,
    epoch,
  ]);
  const made = Buffer.from(hkdfSync('sha256', Buffer.concat([classical, quantum]), salt, info, 64));
  const proof = (side: string): Uint8Array => createHmac('sha256', made.subarray(32)).update(side).digest();
  return {
    presharedKey: made.subarray(0, 32).toString('base64'),
    initiatorProof: proof('initiator'),
    responderProof: proof('responder'),
  };
}

function x25519Of(raw: Uint8Array): KeyObject {
  return publicKeyOf(X25519_PREFIX, raw);
}

function publicKeyOf(prefix: Uint8Array, raw: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([prefix, raw]), format: 'der', type: 'spki' });
}

function rawOf(key: KeyObject, bytes: number): Uint8Array {
  return key.export({ format: 'der', type: 'spki' }).subarray(-bytes);
}

function coded<T>(work: () => T): T {
  try {
    return work();
  } catch {
    // Without the cause: it knows keys.
    throw new MoatError('PSK_INVALID', 'the peer sent keys that are none');
  }
}
