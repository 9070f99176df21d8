/** Entries of the public directory: made, believed, and put in order. */
import { MoatError, formatKey, peerIdFromPublicKey, verifySignature, type OwnerKey, type Signer } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import type { DirectoryEntry, KeyRotation, NodeEntry, PersonEntry, SignedEntry } from './directory-entry.ts';
import { keyOfNode, keyOfOwner } from './signing-key.ts';
import { parseTime } from './time.ts';

/** Longest life of an entry in milliseconds: a machine says again that it is there, a person's key may lie in a drawer. */
export const ENTRY_LIFE_MS: Readonly<Record<DirectoryEntry['kind'], number>> = {
  node: 7 * 86_400_000,
  person: 400 * 86_400_000,
};

/** What people will read of an entry: one line of at most 256 characters, without any that a terminal would obey. */
export function isEntryText(text: string): boolean {
  return text.length <= 256 && /^[^\p{C}\p{Zl}\p{Zp}]+$/u.test(text);
}

/** An entry of the machine whose key signs. */
export function signNodeEntry(fields: Omit<NodeEntry, 'type' | 'kind' | 'node'>, nodeSigner: Signer): SignedEntry {
  const node = peerIdFromPublicKey(nodeSigner.publicKey);
  return signed({ type: 'moat/directory/1', kind: 'node', node, ...fields }, nodeSigner);
}

/** An entry of the person whose key in force signs. */
export function signPersonEntry(fields: Omit<PersonEntry, 'type' | 'kind'>, ownerSigner: Signer): SignedEntry {
  return signed({ type: 'moat/directory/1', kind: 'person', ...fields }, ownerSigner);
}

/** What makes the key of `after` follow that of `before` under a handle. */
export function rotateEntryKey(root: OwnerKey, before: Signer, after: Signer): KeyRotation {
  const [from, to] = [before, after].map(({ publicKey }) => formatKey('ed25519', publicKey)) as [OwnerKey, OwnerKey];
  const bytes = rotationBytes(root, from, to);
  return {
    to,
    before: before.sign('moat/directory-rotation/1', bytes),
    after: after.sign('moat/directory-rotation/1', bytes),
  };
}

/** The key in force of a person. */
export function keyOfPerson({ root, rotations }: PersonEntry): OwnerKey {
  return rotations.at(-1)?.to ?? root;
}

/** Whose entry it is: two of one subject are older and newer. */
export function subjectOf(entry: DirectoryEntry): string {
  return entry.kind === 'node' ? entry.node : entry.root;
}

/**
 * @param now milliseconds since 1970.
 * @throws `DIRECTORY_FORGED` unless the machine or the person signed it, and each key gave the handle to the next;
 * `DIRECTORY_EXPIRED` when its time is over, or longer than an entry may live.
 */
export function verifyEntry({ entry, signature }: SignedEntry, now: number): void {
  const expiresMs = parseTime(entry.expires);
  if (expiresMs <= now || expiresMs > now + ENTRY_LIFE_MS[entry.kind] + CLOCKS_APART_MS) {
    throw new MoatError('DIRECTORY_EXPIRED', `the entry is good until ${entry.expires}, which is over or too far`);
  }
  if (entry.number > now + CLOCKS_APART_MS) throw forged('it was signed in the future');
  const key = entry.kind === 'node' ? keyOfNode(entry.node) : followRotations(entry);
  if (verifySignature('moat/directory/1', canonicalBytes(entry), signature, key)) return;
  throw forged('it is not signed by whom it names');
}

/** Two clocks may differ by so much: architecture.md §3. */
const CLOCKS_APART_MS = 300_000;

/**
 * Does `next` take the place of `known`, of the same subject? A key that was replaced signs nothing that counts any more,
 * whatever the number.
 */
export function replacesEntry(next: DirectoryEntry, known: DirectoryEntry): boolean {
  if (next.kind === 'node' || known.kind === 'node') return next.number > known.number;
  const [longer, shorter] = [next.rotations.length, known.rotations.length];
  if (longer !== shorter) return longer > shorter && startsWith(next.rotations, known.rotations);
  // Of two ways from one key, the one that was known first stays: a thief of an old key gains nothing by the other.
  return startsWith(next.rotations, known.rotations) && next.number > known.number;
}

/**
 * Do both follow from one key by different ways? Either it was given on twice, or whoever stole it gave it on too: only the
 * person can say which is meant.
 */
export function partsFrom(one: DirectoryEntry, other: DirectoryEntry): boolean {
  if (one.kind === 'node' || other.kind === 'node') return false;
  return !startsWith(one.rotations, other.rotations) && !startsWith(other.rotations, one.rotations);
}

function startsWith(rotations: readonly KeyRotation[], known: readonly KeyRotation[]): boolean {
  return known.every(({ to }, i) => rotations[i]?.to === to);
}

/** The key at the end of the rotations, raw. @throws `DIRECTORY_FORGED` */
function followRotations({ root, rotations }: PersonEntry): Uint8Array {
  let from = root;
  for (const { to, before, after } of rotations) {
    const bytes = rotationBytes(root, from, to);
    const isGiven = verifySignature('moat/directory-rotation/1', bytes, before, keyOfOwner(from));
    const isTaken = verifySignature('moat/directory-rotation/1', bytes, after, keyOfOwner(to));
    if (!isGiven || !isTaken) throw forged('a change of its key is not signed by both keys');
    from = to;
  }
  return keyOfOwner(from);
}

function rotationBytes(root: OwnerKey, from: OwnerKey, to: OwnerKey): Uint8Array {
  return canonicalBytes({ type: 'moat/directory-rotation/1', root, from, to });
}

function signed(entry: DirectoryEntry, signer: Signer): SignedEntry {
  return { entry, signature: signer.sign('moat/directory/1', canonicalBytes(entry)) };
}

function forged(reason: string): MoatError<'DIRECTORY_FORGED'> {
  return new MoatError('DIRECTORY_FORGED', `the entry of the directory is not believed: ${reason}`);
}
