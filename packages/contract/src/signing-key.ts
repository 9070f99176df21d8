/** Keys to verify with. No valid signature can belong to a malformed key, so one verifies nothing instead of throwing. */
import { isMoatError, parseKey, publicKeyFromPeerId, type OwnerKey, type PeerId } from '@moat/core';

/** The raw key of an owner or an invite; empty for a malformed one. */
export function keyOfOwner(key: OwnerKey): Uint8Array {
  return keyOr(() => parseKey('ed25519', key));
}

/** The raw key of a machine; empty for a malformed PeerId. */
export function keyOfNode(peer: PeerId): Uint8Array {
  return keyOr(() => publicKeyFromPeerId(peer));
}

function keyOr(read: () => Uint8Array): Uint8Array {
  try {
    return read();
  } catch (error) {
    if (isMoatError(error)) return new Uint8Array(0);
    throw error;
  }
}
