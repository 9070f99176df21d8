/** Claims and their witnesses. */
import { z } from 'zod';
import type { ClaimDetails, MemberClaim, SignedClaim, WitnessedClaim } from '../schema.ts';
import { deploymentId, hash, label, ownerKey, peerId, random16, signature, time, wireguardKey } from './fields.ts';

const signed = {
  claim: z.strictObject({
    type: z.literal('moat/claim/1'),
    deployment: deploymentId,
    invite: ownerKey.nullable(),
    node: peerId,
    details: hash,
  }),
  nodeSignature: signature,
  inviteSignature: signature.nullable(),
};

const witnessed = {
  ...signed,
  witness: z.strictObject({ type: z.literal('moat/witness/1'), claim: hash, time }),
  keeper: peerId,
  keeperSignature: signature,
};

export const claimDetailsSchema: z.ZodType<ClaimDetails> = z.strictObject({
  nonce: random16,
  member: label,
  wireguard: wireguardKey.nullable(),
});

export const signedClaimSchema: z.ZodType<SignedClaim> = z.strictObject(signed);
export const witnessedClaimSchema: z.ZodType<WitnessedClaim> = z.strictObject(witnessed);
export const memberClaimSchema: z.ZodType<MemberClaim> = z.strictObject({ ...witnessed, details: claimDetailsSchema });
