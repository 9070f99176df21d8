/**
 * What a gateway believes of a bundle: the contract's rules, then what this gateway can serve.
 * Pure. Whether the operator lets the deployment in is asked before; a name is claimed later, when all else is in order.
 */
import { isMoatError, type MoatError, type PeerId } from '@moat/core';
import {
  hashClaim,
  headHash,
  publicationHash,
  ruleProblem,
  stillPublished,
  verifyBundle,
  verifyProof,
  type HeadProof,
  type Publication,
  type PublicationBundle,
  type PublishRules,
  type VerifiedBundle,
  type WitnessedClaim,
} from '@moat/contract';
import { refusal, type GatewayErrorCode } from '../errors.ts';
import type { DeploymentRecord } from '../store/store.ts';

export interface PublicationRules {
  /** The gateway's own PeerId. */
  readonly gateway: PeerId;
  /** Authenticated PeerId of whoever shows the bundle. */
  readonly presenter: PeerId;
  /** What the deployment has shown before. */
  readonly current: DeploymentRecord | undefined;
  /** Milliseconds since the epoch. */
  readonly nowMs: number;
}

export interface JudgedBundle {
  /** What to keep: newest head, everything it still publishes here, claims on its places. */
  readonly record: DeploymentRecord;
  /** Publications of the record that this gateway serves. */
  readonly servable: readonly Publication[];
  /** Why the presenter is refused although the record is to be kept. */
  readonly refusedAs: MoatError | undefined;
  readonly refused: readonly { readonly publication: Publication; readonly error: MoatError<GatewayErrorCode> }[];
}

/** Claims kept of one invite: two that differ are enough to freeze the place. */
const MAX_CLAIMS_PER_INVITE = 2;

/**
 * All that a contract publishes at one gateway fits one bundle of this size; so does what is kept of a head that is
 * shown in parts. Characters.
 */
const MAX_KEPT_CHARS = 1024 * 1024;

/** @throws `PUBLICATION_UNSUPPORTED` for more than a contract can publish, and what `verifyBundle` throws */
export function judgeBundle(bundle: PublicationBundle, rules: PublicationRules): JudgedBundle {
  const { current } = rules;
  const { verified, refusedAs } = verifyWithKnown(bundle, rules);
  // The head decides what is published; a bundle of the same head may show more of it, never take away.
  const kept = stillPublished(verified.head.head, current?.publications ?? []);
  // Of two that are the same the kept one stays, to which what was opened of it belongs.
  const publications = uniqueByHash([...verified.publications, ...kept]);
  const isUnion = publications.length > verified.publications.length;
  if (isUnion && JSON.stringify(publications).length > MAX_KEPT_CHARS) {
    throw refusal('PUBLICATION_UNSUPPORTED', 'this version publishes more than fits one bundle');
  }
  const claims = relevantClaims(publications, [...(current?.claims ?? []), ...verified.claims]);
  const { deployment } = verified;
  const record: DeploymentRecord = { deployment, proof: bundle.proof, publications, claims, updatedMs: rules.nowMs };
  const servable = publications.filter((publication) => whyNotServed(publication) === undefined);
  const refused = publications.flatMap((publication) => {
    const error = whyNotServed(publication);
    return error === undefined ? [] : [{ publication, error }];
  });
  return { record, servable, refused, refusedAs };
}

/**
 * A claim on a place that another claim holds here makes it nobody's. The presenter is refused, but the second claim
 * is kept: without it the first would go on.
 */
function verifyWithKnown(
  bundle: PublicationBundle,
  rules: PublicationRules,
): { verified: VerifiedBundle; refusedAs: MoatError | undefined } {
  const { current, gateway, presenter, nowMs: now } = rules;
  const known = current?.claims ?? [];
  const pinned = isSuperseded(current?.proof ?? null, bundle.proof) ? null : (current?.proof ?? null);
  // Once: it is most of what a bundle costs, and a stranger chooses how much.
  const checked = { gateway, presenter, pinned, now, verified: verifyProof(bundle.proof) };
  try {
    return { verified: verifyBundle(bundle, { ...checked, known }), refusedAs: undefined };
  } catch (error) {
    if (!isMoatError(error, 'PUBLISHER_UNKNOWN') || known.length === 0) throw error;
    return { verified: verifyBundle(bundle, checked), refusedAs: error };
  }
}

/**
 * True when what is pinned was signed by owners whom a sealed succession in `offered` had replaced by then: a former
 * quorum showed it while this gateway knew nothing newer, and one current member ends that. Every succession known
 * here must be in `offered`, so nobody who was replaced as far as we know gets past one. Who is in force as far as we
 * know gains nothing by it: they can sign the next version anyway. That the proof holds is still to be verified.
 */
function isSuperseded(pinned: HeadProof | null, offered: HeadProof): boolean {
  if (pinned === null) return false;
  const known = pinned.successions;
  const next = offered.successions[known.length];
  if (next === undefined || [...known, ...offered.successions].some(({ merged }) => merged !== undefined)) return false;
  const isKnown = known.every(({ head }, i) => headHash(head) === headHash(offered.successions[i]?.head ?? head));
  const { head } = pinned.newest;
  const isBeside = next.head.version <= head.version && headHash(next.head) !== headHash(head);
  return isKnown && isBeside && offered.newest.head.version > next.head.version;
}

/** Rules this gateway keeps. A name under a rule that nobody keeps is not served at all. */
const KEPT_RULES: ReadonlySet<string> = new Set<keyof PublishRules>([
  'rate',
  'concurrency',
  'from',
  'headers',
  'redirect',
  'compress',
  'maxBodyBytes',
  'paths',
  'split',
  'sticky',
  'retries',
  'breaker',
  'maintenance',
  // It is kept by members; a gateway passes on what they say.
  'enforce',
]);

/** True when nothing but the time differs: what is kept of one head only grows. */
export function isSame(record: DeploymentRecord, before: DeploymentRecord | undefined): boolean {
  return (
    before !== undefined &&
    headHash(record.proof.newest.head) === headHash(before.proof.newest.head) &&
    record.publications.length === before.publications.length &&
    record.claims.length === before.claims.length
  );
}

/** Why nothing is served under it. */
function whyNotServed(publication: Publication): MoatError<GatewayErrorCode> | undefined {
  const { name, transfer } = publication;
  if (transfer === 'nobody') return refusal('NAME_GIVEN', `${name} was given up; take its line out of the file`);
  if (transfer !== undefined) {
    const message = `${name} is given to deployment ${transfer}, which gets it by publishing it here`;
    return refusal('NAME_GIVEN', message, { details: { transfer } });
  }
  if (!isServable(publication)) {
    return refusal('PUBLICATION_UNSUPPORTED', 'this gateway does not keep a rule of the line');
  }
  if (isReadHere(publication)) return undefined;
  // Writers refuse it as well. Whoever signed it wanted to be asked for, and would not be.
  const message = 'nobody here reads what comes under the name: auth and rules about requests cannot be kept';
  return refusal('PUBLICATION_UNSUPPORTED', message);
}

/** Whether what it says of requests is said of requests. */
function isReadHere({ tls, kind, auth, rules, service, others = [] }: Publication): boolean {
  const own = { protocol: kind };
  if (auth !== undefined && (tls === 'passthrough' || kind === 'tcp')) return false;
  const known = others.map((other) => [other.service, { protocol: other.kind }] as const);
  return ruleProblem(rules, { service: own, tls, services: new Map([[service, own], ...known]) }) === undefined;
}

function isServable({ rules = {} }: Publication): boolean {
  return Object.keys(rules).every((rule) => KEPT_RULES.has(rule));
}

function uniqueByHash(publications: readonly Publication[]): Publication[] {
  return [...new Map(publications.map((publication) => [publicationHash(publication), publication])).values()];
}

function relevantClaims(publications: readonly Publication[], claims: readonly WitnessedClaim[]): WitnessedClaim[] {
  const invites = new Set(
    publications.flatMap(({ members }) => members.flatMap((member) => ('invite' in member ? [member.invite] : []))),
  );
  const kept = new Map<string, WitnessedClaim>();
  const counts = new Map<string, number>();
  for (const claim of claims) {
    const { invite } = claim.claim;
    const hash = hashClaim(claim.claim);
    if (invite === null || !invites.has(invite) || kept.has(hash)) continue;
    const count = counts.get(invite) ?? 0;
    if (count >= MAX_CLAIMS_PER_INVITE) continue;
    counts.set(invite, count + 1);
    kept.set(hash, claim);
  }
  return [...kept.values()];
}
