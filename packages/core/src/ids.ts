/**
 * Text forms of the things Moat names. All keys are raw Ed25519 or X25519 public keys of 32 bytes.
 *   PeerId        libp2p's form: base58btc of the identity multihash of the protobuf Ed25519 key (`12D3Koo…`)
 *   Key           `ed25519:` or `x25519:` and base64url
 *   DeploymentId  26 characters of base32 (RFC 4648, lower case, no padding)
 */
import { MoatError } from './errors.ts';

/** A node's identity in text form, `12D3Koo…`. */
export type PeerId = string;
/** 26 lower-case base32 characters. */
export type DeploymentId = string;
/** `ed25519:<base64url>`. */
export type OwnerKey = string;
/** `sha256` of something, 43 characters of base64url. */
export type Hash = string;

const BASE58 = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';
/** identity multihash (0x00), length 36, protobuf: key type Ed25519, 32 bytes. */
const PEER_ID_PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20);

/** @throws `ID_INVALID` unless `publicKey` has 32 bytes. */
export function peerIdFromPublicKey(publicKey: Uint8Array): PeerId {
  if (publicKey.length !== 32) throw invalid('an Ed25519 public key has 32 bytes');
  return encodeBase58(Buffer.concat([PEER_ID_PREFIX, publicKey]));
}

/**
 * The raw 32-byte Ed25519 public key inside a PeerId.
 * @throws `ID_INVALID` for anything but the canonical text of an Ed25519 PeerId.
 */
export function publicKeyFromPeerId(peerId: PeerId): Uint8Array {
  if (peerId.length < 50 || peerId.length > 53) throw invalid('a PeerId has about 52 characters');
  const bytes = decodeBase58(peerId);
  if (bytes.length !== 38 || !PEER_ID_PREFIX.every((byte, i) => bytes[i] === byte)) {
    throw invalid('not the PeerId of an Ed25519 key');
  }
  return bytes.subarray(PEER_ID_PREFIX.length);
}

export function isPeerId(text: string): boolean {
  try {
    publicKeyFromPeerId(text);
    return true;
  } catch {
    return false;
  }
}

export type KeyKind = 'ed25519' | 'x25519';

export function formatKey(kind: KeyKind, publicKey: Uint8Array): string {
  return `${kind}:${toBase64url(publicKey)}`;
}

/** @throws `ID_INVALID` unless `text` is the canonical form of a key of this kind. */
export function parseKey(kind: KeyKind, text: string): Uint8Array {
  const prefix = `${kind}:`;
  if (!text.startsWith(prefix)) throw invalid(`a key here begins with ${prefix}`);
  const bytes = fromBase64url(text.slice(prefix.length));
  if (bytes.length !== 32) throw invalid('a public key has 32 bytes');
  return bytes;
}

export function toBase64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');
}

/** @throws `ID_INVALID` unless `text` is canonical, unpadded base64url. */
export function fromBase64url(text: string): Uint8Array {
  const bytes = Buffer.from(text, 'base64url');
  if (bytes.toString('base64url') !== text) throw invalid('not canonical base64url');
  return bytes;
}

/** RFC 4648 base32, lower case, without padding. */
export function encodeBase32(bytes: Uint8Array): string {
  let text = '';
  let buffered = 0;
  let bits = 0;
  for (const byte of bytes) {
    buffered = (buffered << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += BASE32[(buffered >>> bits) & 31];
    }
    buffered &= (1 << bits) - 1;
  }
  if (bits > 0) text += BASE32[(buffered << (5 - bits)) & 31];
  return text;
}

export function isDeploymentId(text: string): boolean {
  return /^[a-z2-7]{26}$/.test(text);
}

/** A DNS label as Moat uses it for members, services, networks and names: 1–63 of a–z, 0–9 and inner hyphens. */
export function isLabel(text: string): boolean {
  return /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(text);
}

function encodeBase58(bytes: Uint8Array): string {
  const digits: number[] = [];
  for (const byte of bytes) {
    let carry = byte;
    for (let i = 0; i < digits.length; i++) {
      carry += (digits[i] ?? 0) << 8;
      digits[i] = carry % 58;
      carry = Math.floor(carry / 58);
    }
    while (carry > 0) {
      digits.push(carry % 58);
      carry = Math.floor(carry / 58);
    }
  }
  let text = '';
  for (const byte of bytes) {
    if (byte !== 0) break;
    text += '1';
  }
  for (let i = digits.length - 1; i >= 0; i--) text += BASE58[digits[i] ?? 0];
  return text;
}

/** By character code; 255 = none. */
const BASE58_VALUES = new Uint8Array(128).fill(255);
for (let value = 0; value < BASE58.length; value++) BASE58_VALUES[BASE58.charCodeAt(value)] = value;
/** Digits taken at once, and the limit of a limb: a product of both is exact. A contract has hundreds of PeerIds. */
const [BASE58_AT_ONCE, LIMB] = [4, 2 ** 24];

function decodeBase58(text: string): Uint8Array {
  /** Least significant first. */
  const limbs: number[] = [];
  for (let at = 0; at < text.length; at += BASE58_AT_ONCE) {
    let carry = 0;
    let factor = 1;
    for (let i = at; i < at + BASE58_AT_ONCE && i < text.length; i++) {
      const value = BASE58_VALUES[text.charCodeAt(i)] ?? 255;
      if (value === 255) throw invalid('not base58');
      carry = carry * 58 + value;
      factor *= 58;
    }
    for (let i = 0; i < limbs.length; i++) {
      const product = (limbs[i] ?? 0) * factor + carry;
      // A division by a power of two is exact, and a remainder of such numbers slow.
      carry = Math.floor(product / LIMB);
      limbs[i] = product - carry * LIMB;
    }
    if (carry > 0) limbs.push(carry);
  }
  const bytes: number[] = [];
  for (const limb of limbs) bytes.push(limb & 0xff, (limb >> 8) & 0xff, limb >> 16);
  while (bytes.at(-1) === 0) bytes.pop();
  for (const character of text) {
    if (character !== '1') break;
    bytes.push(0);
  }
  return Uint8Array.from(bytes.reverse());
}

function invalid(reason: string): MoatError<'ID_INVALID'> {
  return new MoatError('ID_INVALID', reason);
}
