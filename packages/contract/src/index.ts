/**
 * What may be, as pure functions over plain values: genesis, heads, quorum, versions, addresses,
 * places, grants, publications. Nothing here does I/O, reads a clock or logs.
 *
 * @example
 * ```ts
 * import { buildView, checkContract, headOf, may, parseContract, signHead } from '@moat/contract';
 * const contract = parseContract(bytes);
 * checkContract(contract);
 * const signature = signHead(headOf(contract, previous), ownerSigner);
 * const view = buildView(contract, claims, now);
 * console.log(may(view, 'web-1', 'db', now).reason);
 * ```
 * @packageDocumentation
 */
export {
  grantedServices,
  may,
  mayPublish,
  placesThatReach,
  type Access,
  type DenialCode,
  type PublishAccess,
} from './access.ts';
export { allocateAddress, checkAddresses, networksOverlap, parseNetwork, type Ipv4Network } from './addresses.ts';
export { whatBothAllow } from './both.ts';
export { isPassword, parseBasicCredentials, type BasicCredentials } from './basic-credentials.ts';
export { RememberedPasswords } from './remembered-passwords.ts';
export { formatBasicUser, parseBasicUsers, type ScryptHash } from './basic-users.ts';
export { boxSecret, openSecret, secretDigest, type BoxContext } from './boxed-secret.ts';
export {
  bundleFor,
  mayServe,
  servicesServedBy,
  stillPublished,
  verifyBundle,
  type BundleRules,
  type VerifiedBundle,
} from './bundle.ts';
export { canonicalBytes, canonicalize, hashCanonical } from './canonical.ts';
export { contractBytes } from './contract-bytes.ts';
export { contractDelta } from './contract-delta.ts';
export {
  checkNextVersion,
  checkProvenVersion,
  compareHeads,
  compareProof,
  type HeadOrder,
  type HeldVersion,
  type OfferedVersion,
  type ProofOrder,
  type ProvenVersion,
} from './chain.ts';
export { checkContract } from './check.ts';
export {
  claimedMember,
  createClaim,
  hashClaim,
  verifyClaim,
  verifyMemberClaim,
  verifyWitnessed,
  witnessClaim,
  type ClaimRequest,
  type WitnessRules,
} from './claim.ts';
export { deviceProfileOf, wgQuickText, type DeviceProfile } from './device-profile.ts';
export { CONTRACT_ERROR_CODES, type ContractErrorCode } from './errors.ts';
export {
  ENTRY_LIFE_MS,
  isEntryText,
  keyOfPerson,
  partsFrom,
  replacesEntry,
  rotateEntryKey,
  signNodeEntry,
  signPersonEntry,
  subjectOf,
  verifyEntry,
} from './directory.ts';
export type {
  DirectoryEntry,
  DirectoryRole,
  KeyRotation,
  NodeEntry,
  PersonEntry,
  SignedEntry,
} from './directory-entry.ts';
export { createGatewayPeers, followGatewayPeers, signGatewayPeers } from './gateway-peers.ts';
export { createGenesis, deploymentIdOf, ownerSetOf, ownersHash } from './genesis.ts';
export { contractMatchesHead, headHash, headOf, signHead } from './head.ts';
export { checkTokenHead, createInvite, encodeToken, parseToken, type InviteKey } from './invite.ts';
export { ipv6NetworkOf, ipv6Of } from './ipv6.ts';
export { CONTRACT_LIMITS, MAX_CONTRACT_BYTES } from './limits.ts';
export { commonOwners, mergedBranch, mergingHead, mergingVersion } from './merge.ts';
export { MAX_HOST_LENGTH, proofRecord, provenBy } from './host-proof.ts';
export { isHostName, peerIdOfMultiaddr } from './multiaddr.ts';
export { endedContract, replaceOwner, rollbackContract } from './next.ts';
export { countSignatures } from './parse/head.ts';
export {
  parseClaimDetails,
  parseContract,
  parseGatewayPeerLists,
  parseGenesis,
  parseHeadProof,
  parseMemberClaim,
  parseProposal,
  parsePublicationBundle,
  parseSignedClaim,
  parseSignedEntry,
  parseSignedGatewayPeers,
  parseSignedHead,
  parseSignedOwnerProof,
  parseSignedSignIn,
  parseSignedReceipt,
  parseWitnessedClaim,
} from './parse/parse.ts';
export { createSignIn, verifySignIn, type SignInRules } from './sign-in.ts';
export {
  SIGN_IN_LASTS_MS,
  SIGN_IN_PROOF_FIELD,
  SignInProofs,
  formatSignInProof,
  type SignInProofRules,
} from './sign-in-proof.ts';
export { createOwnerProof, verifyOwnerProof, type OwnerProofRules } from './owner-proof.ts';
export { resolvePlaces, type Place, type PlaceState } from './places.ts';
export { planChanges, type Change } from './plan.ts';
export { planWarnings, type PlanWarning, type PlanWarningCode, type WarningInput } from './plan-warnings.ts';
export { checkProposal, mergeProposals, proposalId, proposalOf, sealedContract, signProposal } from './proposal.ts';
export { proposalOwners, type ProposalBase, type ProposalOwners } from './proposal-owners.ts';
export { proposalStanding, type OwnerStanding, type ProposalStanding } from './proposal-standing.ts';
export { publicationHash, publicationsOf } from './publication.ts';
export { hasQuorum, requireQuorum, type QuorumResult } from './quorum.ts';
export { createReceipt, verifyReceipt } from './receipt.ts';
export type {
  BoxedSecret,
  ClientCertificates,
  Claim,
  ClaimDetails,
  Contract,
  Egress,
  GatewayPeers,
  GatewayPin,
  Genesis,
  Grant,
  Heir,
  Head,
  HeadProof,
  Invite,
  Member,
  MemberClaim,
  MergedBranch,
  OwnerProof,
  OwnerSet,
  OwnerSignature,
  OidcAuth,
  Owners,
  PostQuantum,
  Proposal,
  Publication,
  PublicationBundle,
  PublicationMember,
  PublishAuth,
  PublishLine,
  Receipt,
  Service,
  ServiceProtocol,
  SignedClaim,
  SignedGatewayPeers,
  SignedHead,
  SignedOwnerProof,
  SignedSignIn,
  SignedReceipt,
  Succession,
  Token,
  Witness,
  WitnessedClaim,
} from './schema.ts';
export { resolveMembers, selectorsOf, tagOf, witnessesOf } from './selector.ts';
export { extendProof, verifyProof, type VerifiedProof } from './succession.ts';
export { isTarget, parseTarget, type Target } from './target.ts';
export { CLOCK_TOLERANCE_MS, formatTime, isTime, parseTime } from './time.ts';
export { buildView, type ContractView, type ResolvedGrant } from './view.ts';
export type { MachinePin } from './yaml/build-members.ts';
export { buildContract, ownersOf, type BuildInput, type NamedKey } from './yaml/build.ts';
export { anchorsToResolve, defaultNetwork, gatewaysToResolve } from './yaml/carry-over.ts';
export {
  formatDiagnostic,
  type Diagnostic,
  type FieldPath,
  type Position,
  type ValidationPass,
} from './yaml/diagnostic.ts';
export type { FileAuth, FileSecret } from './yaml/file-auth.ts';
export { didYouMean } from './yaml/did-you-mean.ts';
export { formatDuration, parseDuration, parseExpiry, type Expiry } from './yaml/duration.ts';
export type {
  DeploymentFile,
  FileEgress,
  FileGrant,
  FileMember,
  FileNetwork,
  FilePublish,
  FileService,
} from './yaml/file.ts';
export { formatDeploymentFile } from './yaml/format.ts';
export { fileFromContract } from './yaml/from-contract.ts';
export { ruleProblem, servicesOfLine, type RuleContext, type RuleProblem } from './publish-rules.ts';
export type { HeaderChanges, PathRule, PublishRules, RequestRate, Split } from './publish-rules.ts';
export { deploymentFileJsonSchema } from './yaml/json-schema.ts';
export { resolveOnline, type OnlineOptions, type OnlineResolvers, type OnlineResult } from './yaml/online.ts';
export { parseDeploymentFile, type ParsedDeploymentFile } from './yaml/parse.ts';
export { handlesToResolve, withOwnerKeys } from './yaml/people.ts';
export { resolveSecrets, type SecretsResult } from './yaml/secrets.ts';
