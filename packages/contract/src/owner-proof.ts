/** How an owner who is no member shows a keeper who it is, for one connection. */
import {
  MoatError,
  formatKey,
  verifySignature,
  type DeploymentId,
  type OwnerKey,
  type PeerId,
  type Signer,
} from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import { keyOfOwner } from './signing-key.ts';
import { CLOCK_TOLERANCE_MS, parseTime } from './time.ts';
import type { OwnerProof, OwnerSet, SignedOwnerProof } from './schema.ts';

/** What a keeper holds a proof against. */
export interface OwnerProofRules {
  readonly deployment: DeploymentId;
  /** The authenticated PeerId of whoever dialed. */
  readonly dialer: PeerId;
  /** The keeper's own PeerId. */
  readonly keeper: PeerId;
  /** The owners in force. */
  readonly owners: OwnerSet;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** An owner's signature over both ends of a connection and the time: worth nothing on any other connection. */
export function createOwnerProof(fields: Omit<OwnerProof, 'type' | 'owner'>, signer: Signer): SignedOwnerProof {
  const { deployment, dialer, keeper, time } = fields;
  const owner = formatKey('ed25519', signer.publicKey);
  const proof: OwnerProof = { type: 'moat/owner/1', deployment, owner, dialer, keeper, time };
  return { proof, signature: signer.sign('moat/owner/1', canonicalBytes(proof)) };
}

/**
 * @returns the owner who signed.
 * @throws `OWNER_PROOF_INVALID` for another deployment or connection, a time more than five minutes from `now`,
 * a key that owns nothing here, or a false signature. Its message is the same for all of them but the time.
 */
export function verifyOwnerProof({ proof, signature }: SignedOwnerProof, rules: OwnerProofRules): OwnerKey {
  const { deployment, dialer, keeper, owners, now } = rules;
  const { owner } = proof;
  const isHere = proof.deployment === deployment && proof.dialer === dialer && proof.keeper === keeper;
  // Cheap checks first: a flood of proofs by strangers then costs no signature check.
  if (!isHere || !owners.keys.some(({ key }) => key === owner)) throw invalid(deployment);
  if (Math.abs(parseTime(proof.time) - now) > CLOCK_TOLERANCE_MS) {
    throw new MoatError('OWNER_PROOF_INVALID', "the owner's clock and this one differ by more than five minutes", {
      details: { deployment, time: proof.time },
    });
  }
  if (!verifySignature('moat/owner/1', canonicalBytes(proof), signature, keyOfOwner(owner))) throw invalid(deployment);
  return owner;
}

function invalid(deployment: DeploymentId): MoatError<'OWNER_PROOF_INVALID'> {
  return new MoatError('OWNER_PROOF_INVALID', 'this proves no owner of the deployment on this connection', {
    details: { deployment },
  });
}
