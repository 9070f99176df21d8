/**
 * Keys that never leave the machine: a node's key in a private file, an owner's key in a sealed one,
 * and the form libp2p takes.
 *
 * @example
 * ```ts
 * import { createOwnerKey, loadOrCreateNodeKey, openOwnerKey, readPrivateFile, sealOwnerKey, writePrivateFile } from '@moat/identity';
 * const node = await loadOrCreateNodeKey('state/node.key');
 * console.log(node.peerId); // 12D3Koo…
 * await writePrivateFile('owner.key', sealOwnerKey(createOwnerKey(), 'correct horse'), { replace: false });
 * const owner = openOwnerKey(await readPrivateFile('owner.key'), 'correct horse');
 * console.log(owner.key); // ed25519:…
 * ```
 * @packageDocumentation
 */
export { IDENTITY_ERROR_CODES, type IdentityErrorCode } from './errors.ts';
export { INITIATION_BYTES, initiationTestOf, isInitiation } from './initiation.ts';
export { fingerprintWords } from './fingerprint.ts';
export { createNodeKey, loadOrCreateNodeKey, parseNodeKey, type NodeKey } from './node-key.ts';
export { createOwnerKey, ownerKeyFromSeed, type OwnerKeyPair } from './owner-key.ts';
export { toLibp2pPrivateKey } from './peer-id.ts';
export { readPrivateFile, writePrivateFile, type WriteOptions } from './private-file.ts';
export { seedOfWords, wordsOfSeed } from './recovery-words.ts';
export { isSealed, openOwnerKey, sealOwnerKey, type SealOptions } from './sealed-file.ts';
export {
  createWireguardKey,
  loadOrCreateWireguardKey,
  parseWireguardKey,
  readWireguardKey,
  type WireguardKey,
} from './wireguard-key.ts';
