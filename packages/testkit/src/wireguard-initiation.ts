import { createHash, randomBytes } from 'node:crypto';
import { blake2s } from '@noble/hashes/blake2.js';

/**
 * A packet that a peer with this public key takes for the beginning of a handshake until it tries to decrypt it: `mac1`
 * is right, everything else is random. Another one each time.
 * @param publicKey as `wg` prints it.
 */
export function wireguardInitiation(publicKey: string): Buffer {
  const packet = Buffer.concat([Buffer.from([1, 0, 0, 0]), randomBytes(112), Buffer.alloc(32)]);
  const label = Buffer.from('mac1----', 'latin1');
  const key = createHash('blake2s256').update(Buffer.concat([label, Buffer.from(publicKey, 'base64')]));
  packet.set(blake2s(packet.subarray(0, 116), { key: key.digest(), dkLen: 16 }), 116);
  return packet;
}
