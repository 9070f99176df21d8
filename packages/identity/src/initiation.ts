/**
 * The first message of a WireGuard handshake, told apart by the public key it is for. 148 bytes: type 1, three zeros,
 * sender, ephemeral, static, timestamp, `mac1` over all before it, `mac2` (WireGuard paper §5.4.2, §5.4.4).
 */
import { createHash } from 'node:crypto';
import type { InitiationTest } from '@moat/core';
import { blake2s } from '@noble/hashes/blake2.js';

/** Bytes of the whole message. */
export const INITIATION_BYTES = 148;
const TYPE_AND_ZEROS = Buffer.from([1, 0, 0, 0]);
const MAC1_AT = 116;
const MAC1_BYTES = 16;
const MAC1_LABEL = 'mac1----';

/** True for what has the form of an initiation, whoever it is for; cheap, unlike {@link initiationTestOf}. */
export function isInitiation(packet: Uint8Array): boolean {
  return packet.length === INITIATION_BYTES && TYPE_AND_ZEROS.every((byte, at) => packet[at] === byte);
}

/** @param publicKey 32 bytes in base64. */
export function initiationTestOf(publicKey: string): InitiationTest {
  const key = createHash('blake2s256').update(MAC1_LABEL).update(Buffer.from(publicKey, 'base64')).digest();
  return (packet) => {
    if (!isInitiation(packet)) return undefined;
    const mac1 = blake2s(packet.subarray(0, MAC1_AT), { key, dkLen: MAC1_BYTES });
    const fits = mac1.every((byte, at) => packet[MAC1_AT + at] === byte);
    // Over all that varies, so no two initiations share it.
    return fits ? Buffer.from(mac1).toString('base64url') : undefined;
  };
}
