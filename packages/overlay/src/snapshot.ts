/** How a deployment as a keeper shows it to an owner travels: proof, contract, claims, where the keepers are. */
import { parseHeadProof, parseMemberClaim } from '@moat/contract';
import { z } from 'zod';
import { parsed } from './messages.ts';
import type { Snapshot } from './owners-view.ts';

/** A contract of 1 MiB as a JSON string, and every claim of a large deployment. */
export const MAX_SNAPSHOT_BYTES: number = 16 * 1024 * 1024;

interface WireSnapshot {
  readonly proof: unknown;
  readonly contract: string;
  readonly claims: readonly unknown[];
  readonly keepers: readonly string[];
}

export const snapshotSchema: z.ZodType<WireSnapshot> = z.strictObject({
  proof: z.unknown(),
  contract: z.string().max(2 * 1024 * 1024),
  claims: z.array(z.unknown()).max(20_000),
  keepers: z.array(z.string().max(512)).max(1024),
});

export function snapshotToWire({ proof, contract, claims, keepers }: Snapshot): WireSnapshot {
  return { proof, contract: Buffer.from(contract).toString('utf8'), claims, keepers: keepers.slice(0, 1024) };
}

/** @throws `MESSAGE_INVALID` */
export function snapshotFromWire({ proof, contract, claims, keepers }: WireSnapshot): Snapshot {
  return {
    proof: parsed(parseHeadProof, proof),
    contract: Buffer.from(contract, 'utf8'),
    claims: claims.map((claim) => parsed(parseMemberClaim, claim)),
    keepers,
  };
}
