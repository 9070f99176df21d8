/**
 * What may be, as pure functions over plain values: genesis, heads, quorum, versions, addresses,
 * places, grants, publications.
 * @packageDocumentation
 */
export type {
  Claim,
  ClaimDetails,
  Contract,
  GatewayPin,
  Genesis,
  Grant,
  Head,
  HeadProof,
  Invite,
  Member,
  MemberClaim,
  OwnerSet,
  OwnerSignature,
  Owners,
  Publication,
  PublicationBundle,
  PublishLine,
  Service,
  SignedClaim,
  SignedHead,
  Succession,
  Token,
  Witness,
  WitnessedClaim,
} from './schema.ts';
