/** Taking a place with a token: claim, witness, contract; nothing is stored of an answer that does not hold. */
import { randomBytes } from 'node:crypto';
import {
  MoatError,
  errorCode,
  fromBase64url,
  isMoatError,
  sleep,
  toBase64url,
  type Clock,
  type DeploymentId,
  type Logger,
  type PeerId,
  type Signer,
} from '@moat/core';
import {
  checkTokenHead,
  createClaim,
  createInvite,
  hashClaim,
  parseContract,
  parseToken,
  peerIdOfMultiaddr,
  verifyMemberClaim,
  type Token,
} from '@moat/contract';
import type { AddressBook, JoinAnswer, JoinRequest as ClaimShown, Overlay } from '@moat/overlay';
import { deadline } from './deadline.ts';
import type { Deployment } from './deployments/deployment.ts';
import type { Deployments } from './deployments/deployments.ts';
import type { EventFeed } from './event-feed.ts';
import { plainText } from './remote-text.ts';
import type { MachineStore } from './store/machine-store.ts';

const RETRY_MS = 1000;
const ASK_MS = 20_000;
/** To tell an anchor that is away from a keeper that is. */
const ANCHOR_MS = 4_000;
/** A keeper that was reached and answered so may answer otherwise soon. */
const WORTH_WAITING = new Set(['NO_KEEPER_REACHABLE', 'INVITE_UNKNOWN', 'JOIN_TIMEOUT']);

export interface JoinDeps {
  readonly self: PeerId;
  readonly signer: Signer;
  readonly overlay: Pick<Overlay, 'requestJoin' | 'dial' | 'greet' | 'reach'>;
  readonly deployments: Deployments;
  readonly store: Pick<MachineStore, 'ownClaim' | 'saveOwnClaim'>;
  /** The WireGuard key that this machine's place in a deployment has, made where there is none. */
  readonly wireguardKey: (deployment: DeploymentId) => Promise<string>;
  readonly addressBook: Pick<AddressBook, 'learn'> & { flush(): void };
  readonly clock: Clock;
  readonly logger: Logger;
  readonly feed: EventFeed;
}

/** The place taken and the keeper that answered. */
export interface JoinResult {
  readonly deployment: Deployment;
  readonly member: string;
  readonly keeper: PeerId;
}

/**
 * Joins by a token; the same token again gives the same place.
 * @param waitMs how long to go on while no keeper is in reach.
 * @throws `TOKEN_INVALID`, `NO_KEEPER_REACHABLE`, `NO_ANCHOR_REACHABLE`, `JOIN_REFUSED`, `INVITE_USED`, `INVITE_EXPIRED`, `INVITE_UNKNOWN`,
 * `PLACE_TAKEN`, `JOIN_UNVERIFIED`, `DISK_FULL`
 */
export async function joinByToken(
  deps: JoinDeps,
  text: string,
  waitMs: number,
  signal: AbortSignal,
): Promise<JoinResult> {
  const token = parseToken(text);
  const tell = (step: 'dialing' | 'asking' | 'waiting' | 'joined' | 'refused', message: string): void =>
    deps.feed.emit({ kind: 'join', deployment: token.deployment, step, message });
  const deadline = deps.clock.now() + waitMs;
  for (;;) {
    tell('asking', `asking ${token.keepers.length} keeper addresses`);
    try {
      const result =
        token.seed === undefined ? await locate(deps, token, signal) : await claimPlace(deps, token, signal);
      tell('joined', `took ${result.member}`);
      return result;
    } catch (error) {
      signal.throwIfAborted();
      if (!WORTH_WAITING.has(errorCode(error)) || deps.clock.now() >= deadline) {
        tell('refused', errorCode(error));
        throw await noWay(deps, token, error, signal);
      }
      tell('waiting', errorCode(error));
      await sleep(deps.clock, RETRY_MS, signal);
    }
  }
}

async function claimPlace(deps: JoinDeps, token: Token, signal: AbortSignal): Promise<JoinResult> {
  const deployment = deps.deployments.get(token.deployment);
  const held = deployment?.place;
  const shown = await ownClaim(deps, token);
  if (held !== undefined && !isLeftBehind(deps, token) && held.name !== shown.details.member) {
    throw new MoatError(
      'PLACE_TAKEN',
      `this machine holds ${held.name} already, the token is for ${shown.details.member}`,
      {
        next: ['use the machine as it is', 'MOAT_HOME=… moat node run gives a second identity'],
      },
    );
  }
  const answer = await deps.overlay.requestJoin(keeperAddresses(token), shown, askDeadline(signal));
  if (!answer.ok) {
    // A keeper that never heard of the claim says no; the owners have named this machine since.
    if (deployment !== undefined && held?.state === 'pinned' && held.name === shown.details.member) {
      return { deployment, member: held.name, keeper: deps.self };
    }
    throw new MoatError(answer.code, plainText(answer.message), { next: ['ask an owner for a new token'] });
  }
  return adopt(deps, token, shown, answer);
}

/** The claim made with this token, the same one every time: a retry after a crash must not look like a second machine. */
async function ownClaim(deps: JoinDeps, token: Token): Promise<ClaimShown> {
  const { seed, member, deployment } = token;
  if (seed === undefined || member === undefined) throw new MoatError('TOKEN_INVALID', 'the token names no place');
  const invite = createInvite(fromBase64url(seed));
  const wireguard = await deps.wireguardKey(deployment);
  // In one turn from here on: two that join with the same token at once make one claim.
  const known = deps.store.ownClaim(deployment, invite.key);
  if (known !== undefined) return known;
  const details = { nonce: toBase64url(randomBytes(16)), member, wireguard };
  const signed = createClaim({ deployment, details, nodeSigner: deps.signer, inviteSigner: invite.signer });
  deps.store.saveOwnClaim({ signed, details }, invite.key);
  return { signed, details };
}

/** Holds the answer against the token, then stores it: version first, then the claims, ours among them. */
function adopt(deps: JoinDeps, token: Token, shown: ClaimShown, answer: JoinAnswer & { ok: true }): JoinResult {
  const { member } = shown.details;
  const { keeper } = answer.claim;
  try {
    checkTokenHead(token, answer.proof.newest.head);
    if (hashClaim(answer.claim.claim) !== hashClaim(shown.signed.claim))
      throw unverified('another claim was witnessed');
    const contract = parseContract(answer.contract);
    // Pinned since, the place is ours without the claim. Else, before anything is stored: a claim that we would
    // not believe of another does not count for us either.
    const isPinned = contract.members.some(({ name, node }) => name === member && node === deps.self);
    if (!isPinned) verifyMemberClaim(contract, answer.claim, deps.clock.now());
    const claims = isPinned ? answer.claims : [answer.claim, ...answer.claims];
    const adoption = { proof: answer.proof, contract, claims, isOtherBranch: isLeftBehind(deps, token) };
    learnKeepers(deps.addressBook, token);
    const deployment = deps.deployments.adopt(keeper, adoption);
    if (deployment.place?.name !== member) {
      throw new MoatError('NOT_A_MEMBER', `version ${contract.version} does not give us ${member} now`);
    }
    return { deployment, member, keeper };
  } catch (error) {
    if (
      !isMoatError(error) ||
      ['DISK_FULL', 'INVITE_UNKNOWN', 'JOIN_UNVERIFIED', 'HEAD_FORKED', 'NOT_A_MEMBER'].includes(error.code)
    )
      throw error;
    throw unverified(error.message, error);
  }
}

/** A locator leads a pinned machine to its deployment: a keeper names it on hello and its head is taken. */
async function locate(deps: JoinDeps, token: Token, signal: AbortSignal): Promise<JoinResult> {
  const known = deps.deployments.get(token.deployment);
  const isOtherBranch = isLeftBehind(deps, token);
  if (known?.place !== undefined && !isOtherBranch) {
    return { deployment: known, member: known.place.name, keeper: deps.self };
  }
  const keepers = new Set(
    addressesByKeeper(token).flatMap(([address]) => address?.slice(address.lastIndexOf('/') + 1) ?? []),
  );
  using _ = deps.deployments.expect(token.deployment, {
    isOtherBranch,
    check: (proof, from) => {
      // On a wrong branch others may show more of it; the token says who shows the right one.
      if (isOtherBranch && !keepers.has(from)) throw unverified('it is no keeper of the token');
      checkTokenHead(token, proof.newest.head);
    },
  });
  const limit = askDeadline(signal);
  let lastError: unknown;
  for (const addresses of addressesByKeeper(token)) {
    try {
      const connection = await deps.overlay.dial(addresses, limit);
      // one that stood before, for another deployment, was greeted when this one was not expected yet
      await deps.overlay.greet(connection);
      const deployment = await arrival(deps, token, known, connection.closed, limit);
      const { place } = deployment;
      if (place === undefined) throw new MoatError('NOT_A_MEMBER', 'the newest version gives this machine no place');
      return { deployment, member: place.name, keeper: connection.peer };
    } catch (error) {
      signal.throwIfAborted();
      lastError = error;
    }
  }
  if (isMoatError(lastError) && lastError.code !== 'PEER_UNREACHABLE') throw lastError;
  throw new MoatError('NO_KEEPER_REACHABLE', 'no keeper of the token answered', { cause: lastError, retryable: true });
}

/** The owners signed beside what is held here, and the token is newer: it decides which branch this machine is on. */
function isLeftBehind({ deployments }: JoinDeps, token: Token): boolean {
  const held = deployments.get(token.deployment);
  return held?.forked === true && token.version > held.contract.version;
}

/** @param before what was held without a place, e.g. for an owner: it has to become one with a place. */
async function arrival(
  deps: JoinDeps,
  token: Token,
  before: Deployment | undefined,
  closed: AbortSignal,
  signal: AbortSignal,
): Promise<Deployment> {
  const deadline = deps.clock.now() + 5000;
  for (;;) {
    const deployment = deps.deployments.get(token.deployment);
    const isHere = deployment !== undefined && (deployment.place !== undefined || deployment !== before);
    if (isHere && !isLeftBehind(deps, token)) return deployment;
    if (closed.aborted || deps.clock.now() > deadline) {
      if (deployment !== undefined && !isLeftBehind(deps, token)) return deployment;
      throw new MoatError('JOIN_TIMEOUT', 'the keeper does not name this deployment to us', { retryable: true });
    }
    await sleep(deps.clock, 50, signal);
  }
}

/** Direct addresses first, then each keeper behind each anchor. */
function keeperAddresses(token: Token): string[] {
  const relayed = token.keepers.flatMap((address) => {
    const peer = address.slice(address.lastIndexOf('/') + 1);
    return token.anchors.map((anchor) => `${anchor}/p2p-circuit/p2p/${peer}`);
  });
  return [...new Set([...token.keepers, ...relayed])];
}

/** The token's keepers are known from now on, also to an agent that restarts before it met them again. */
function learnKeepers(addressBook: JoinDeps['addressBook'], token: Token): void {
  for (const addresses of addressesByKeeper(token)) {
    const direct = addresses.filter((address) => !address.includes('/p2p-circuit'));
    const peer = direct[0]?.slice(direct[0].lastIndexOf('/') + 1);
    if (peer !== undefined)
      addressBook.learn(
        peer,
        direct.map((address) => address.slice(0, address.lastIndexOf('/p2p/'))),
      );
  }
  addressBook.flush();
}

function addressesByKeeper(token: Token): readonly (readonly string[])[] {
  const byPeer = new Map<string, string[]>();
  for (const address of keeperAddresses(token)) {
    const peer = address.slice(address.lastIndexOf('/') + 1);
    byPeer.set(peer, [...(byPeer.get(peer) ?? []), address]);
  }
  return [...byPeer.values()];
}

function askDeadline(signal: AbortSignal): AbortSignal {
  const error = new MoatError('NO_KEEPER_REACHABLE', 'no keeper of the token answered in time', { retryable: true });
  return deadline(ASK_MS, error, signal);
}

function unverified(reason: string, cause?: unknown): MoatError<'JOIN_UNVERIFIED'> {
  return new MoatError('JOIN_UNVERIFIED', `the keeper's answer does not hold: ${reason}`, { cause });
}

/**
 * Why no keeper was reached: one that refuses the connection is off, and one behind an anchor that answers is away;
 * otherwise no way leads from here to there, which a keeper that starts would not change.
 */
async function noWay({ overlay }: JoinDeps, token: Token, error: unknown, signal: AbortSignal): Promise<unknown> {
  if (!isMoatError(error, 'NO_KEEPER_REACHABLE')) return error;
  const peers = new Set(token.keepers.map(peerIdOfMultiaddr));
  const isOff = [...peers].some((peer) => overlay.reach(peer).failures.some(({ reason }) => reason === 'refused'));
  if (isOff || (await anchorAnswers(overlay, token.anchors, signal))) {
    const next = ['start a keeper, or wait for one: moat join --wait'];
    return new MoatError(error.code, error.message, { cause: error, next, retryable: true });
  }
  const tried = token.anchors.length === 0 ? 'the token names no anchor' : 'no anchor of the token answers';
  return new MoatError('NO_ANCHOR_REACHABLE', 'no way leads from this machine to a keeper', {
    cause: error,
    reason: `no keeper's own address answers, and ${tried}`,
    next: [
      'bring both machines onto one LAN, or open ports 4410 and 4411 of the keeper to this one',
      'moat node run --anchor   on any host both can reach; name it in anchors: of moat.yaml, apply, invite again',
    ],
    retryable: true,
  });
}

async function anchorAnswers(
  overlay: JoinDeps['overlay'],
  anchors: readonly string[],
  signal: AbortSignal,
): Promise<boolean> {
  const late = new MoatError('NO_ANCHOR_REACHABLE', 'the anchor did not answer in time', { retryable: true });
  const limit = deadline(ANCHOR_MS, late, signal);
  try {
    await Promise.any(anchors.map((anchor) => overlay.dial([anchor], limit)));
    return true;
  } catch {
    signal.throwIfAborted();
    return false;
  }
}
