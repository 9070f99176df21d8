/** Which proposal makes room for another one, so that one owner can never push out what the others left. */
import type { Hash, OwnerKey } from '@moat/core';

/** Proposals that wait for one deployment. */
export const MAX_PROPOSALS = 16;

/** A proposal as far as room goes. */
export interface Occupant {
  readonly id: Hash;
  /** Owners in force who signed it. */
  readonly signers: readonly OwnerKey[];
  /** Nothing can become of it any more. */
  readonly isStale: boolean;
  readonly receivedAt: number;
}

/**
 * The proposal that has to go when there are more than {@link MAX_PROPOSALS}: a stale one, else the oldest of the owner
 * who holds most. Each counts for that one of its signers who holds least, so that to sign another owner's proposal
 * takes nothing from it. May be the one that came last.
 */
export function nextToGo(occupants: readonly Occupant[]): Hash | undefined {
  if (occupants.length <= MAX_PROPOSALS) return undefined;
  const byAge = occupants.toSorted((a, b) => a.receivedAt - b.receivedAt);
  const stale = byAge.find(({ isStale }) => isStale);
  if (stale !== undefined) return stale.id;
  const held = new Map<OwnerKey, Hash[]>();
  // Those with a single signer first: they have no choice.
  for (const { id, signers } of byAge.toSorted((a, b) => a.signers.length - b.signers.length)) {
    const least = signers.reduce<OwnerKey | undefined>(
      (best, key) => (best === undefined || countOf(held, key) < countOf(held, best) ? key : best),
      undefined,
    );
    const key = least ?? '';
    held.set(key, [...(held.get(key) ?? []), id]);
  }
  const [most] = [...held.values()].sort((a, b) => b.length - a.length);
  return byAge.find(({ id }) => most?.includes(id) === true)?.id;
}

function countOf(held: ReadonlyMap<OwnerKey, readonly Hash[]>, key: OwnerKey): number {
  return held.get(key)?.length ?? 0;
}
