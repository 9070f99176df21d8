/** What a bundle costs to verify, in bundles of few signatures. Pure. */
import { countSignatures, type PublicationBundle } from '@moat/contract';

/** They take some 8 ms to verify. */
const SIGNATURES_PER_COST = 64;

/** Bundles that one counts as: one, and one more for every 64 signatures of its proof, rounded. */
export function costOf({ proof }: PublicationBundle): number {
  return 1 + Math.round(countSignatures(proof) / SIGNATURES_PER_COST);
}
