/** Keys as `wg` prints them: X25519 (RFC 7748), made here so that no private key passes through another program. */
import { createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, type KeyObject } from 'node:crypto';
import { failure } from './errors.ts';

/** Both halves in base64, 44 characters each. */
export interface WireguardKey {
  readonly privateKey: string;
  readonly publicKey: string;
}

/** PKCS #8 of an X25519 key up to its 32 bytes (RFC 8410). */
const PKCS8 = Buffer.from('302e020100300506032b656e04220420', 'hex');
const KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

/** A new key pair, as `wg genkey` and `wg pubkey` would make it. */
export function createWireguardKey(): WireguardKey {
  const { privateKey, publicKey } = generateKeyPairSync('x25519');
  const bytes = privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(PKCS8.length);
  // As wg does: the bits that X25519 ignores are set, so that both print the same.
  bytes[0] = (bytes[0] ?? 0) & 248;
  bytes[31] = ((bytes[31] ?? 0) & 127) | 64;
  return { privateKey: bytes.toString('base64'), publicKey: raw(publicKey) };
}

/** The public half of a private key, as `wg pubkey` prints it. @throws `TUNNEL_FAILED` */
export function publicKeyOf(privateKey: string): string {
  if (!isWireguardKey(privateKey))
    throw failure('TUNNEL_FAILED', 'this is not the private key of a WireGuard interface');
  const der = Buffer.concat([PKCS8, Buffer.from(privateKey, 'base64')]);
  return raw(createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })));
}

/** A new preshared key, as `wg genpsk` prints it. */
export function createPresharedKey(): string {
  return randomBytes(32).toString('base64');
}

/** True for 32 bytes in the one base64 form that `wg` takes. */
export function isWireguardKey(text: string): boolean {
  return KEY.test(text);
}

function raw(key: KeyObject): string {
  return key.export({ type: 'spki', format: 'der' }).subarray(-32).toString('base64');
}
