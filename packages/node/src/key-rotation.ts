/**
 * A new key for this machine. The next one waits beside the one in use until the owners' versions name it; then one
 * rename puts it in the old one's place, which destroys that, and the agent starts again. A crash at any instant
 * leaves the old key with the next beside it, or the next one alone.
 */
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, isMoatError, type Clock, type Logger, type PeerId, type Timer } from '@moat/core';
import { claimedMember, type Contract, type MemberClaim } from '@moat/contract';
import { loadOrCreateNodeKey, parseNodeKey, readPrivateFile, type NodeKey } from '@moat/identity';
import type { Notice, Rotation } from '@moat/admin-api';
import type { Deployments } from './deployments/deployments.ts';

const KEY_FILE = 'node.key';
const NEXT_FILE = 'node.key.next';
/** Milliseconds from the version that names the next key to the restart: others hear of that version meanwhile. */
const SWITCH_AFTER_MS = 1000;
/** Milliseconds between two looks with the next key at what the keepers hold; a removed key is told nothing. */
const LOOK_EVERY_MS = 30_000;

/** What a deployment says about who is who. */
interface Held {
  readonly contract: Contract;
  readonly claims: readonly MemberClaim[];
}

/**
 * This machine's key, after the change that was due, if one was.
 * @param held what is on disk
 * @throws `KEY_FILE_EXPOSED`, `KEY_FILE_INVALID`, `KEY_FILE_UNREADABLE`, `KEY_FILE_UNWRITABLE`
 */
export async function takeNodeKey(stateDir: string, held: () => readonly Held[]): Promise<NodeKey> {
  const key = await loadOrCreateNodeKey(join(stateDir, KEY_FILE));
  const next = await readNextKey(stateDir);
  if (next === undefined || !isDue(held(), key.peerId, next.peerId)) return key;
  await rename(join(stateDir, NEXT_FILE), join(stateDir, KEY_FILE));
  // The name is on disk before anybody meets the new identity.
  await using directory = await open(stateDir);
  await directory.sync();
  return next;
}

export interface KeyRotationDeps {
  readonly stateDir: string;
  readonly self: PeerId;
  readonly deployments: Deployments;
  /** Meets the keepers as the next key for a while, so that versions it may see come in. */
  readonly look: (next: NodeKey, signal: AbortSignal) => Promise<void>;
  /** True while a keeper of ours still knows us by the key in use. */
  readonly isKnown: () => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Stops the agent in order and starts it again. */
  readonly restart: () => void;
}

export class KeyRotation {
  readonly #deps: KeyRotationDeps;
  readonly #stopped = new AbortController();
  #next: NodeKey | undefined;
  #timer: Timer | undefined;
  #switching = false;

  constructor(deps: KeyRotationDeps) {
    this.#deps = deps;
  }

  /** Goes on with a rotation that was begun before. */
  async start(): Promise<void> {
    this.#next = await readNextKey(this.#deps.stateDir);
    this.#lookLater();
    // The version that names it may have come in while the agent started.
    this.changed();
  }

  stop(): void {
    this.#stopped.abort();
    this.#timer?.cancel();
  }

  /** Makes the next key, on disk before this resolves; the same one until the switch. @throws `KEY_FILE_UNWRITABLE` */
  async prepare(): Promise<Rotation> {
    const { stateDir, self, deployments } = this.#deps;
    this.#next ??= await loadOrCreateNodeKey(join(stateDir, NEXT_FILE));
    this.#lookLater();
    return {
      current: self,
      next: this.#next.peerId,
      places: deployments
        .list()
        .flatMap(({ id, contract, place }) =>
          place === undefined ? [] : { deployment: id, name: contract.name, member: place.name },
        ),
    };
  }

  /** What `status` says of it. */
  get notices(): readonly Notice[] {
    if (this.#next === undefined) return [];
    const waiting = held(this.#deps.deployments).filter((each) => needs(each, this.#deps.self));
    const names = waiting.map(({ contract }) => contract.name).join(', ');
    return [
      {
        code: 'KEY_ROTATION_WAITING',
        message: `the next key ${this.#next.peerId} waits until the owners name it in ${names || 'a network'}`,
      },
    ];
  }

  /** To call after every version: switches when the owners named the next key wherever the old one had a place. */
  changed(): void {
    const { deployments, self, clock, restart, logger } = this.#deps;
    if (this.#next === undefined || this.#switching || this.#stopped.signal.aborted) return;
    if (!isDue(held(deployments), self, this.#next.peerId)) return;
    this.#switching = true;
    logger.info({ component: 'node.key', peer: this.#next.peerId }, 'the next key takes over');
    this.#timer?.cancel();
    this.#timer = clock.after(SWITCH_AFTER_MS, restart);
  }

  #lookLater(): void {
    const next = this.#next;
    if (next === undefined || this.#switching || this.#stopped.signal.aborted) return;
    this.#timer?.cancel();
    this.#timer = this.#deps.clock.after(LOOK_EVERY_MS, () => void this.#look(next));
  }

  async #look(next: NodeKey): Promise<void> {
    const { isKnown, look, logger } = this.#deps;
    try {
      if (!isKnown()) await look(next, this.#stopped.signal);
    } catch (error) {
      logger.debug({ component: 'node.key', code: errorCode(error), err: error }, 'keepers not met as the next key');
    }
    this.#lookLater();
  }
}

function held(deployments: Deployments): Held[] {
  return deployments.list().map(({ contract, currentClaims }) => ({ contract, claims: currentClaims }));
}

/** Some place is the next key's, and none is the old one's any more. */
function isDue(all: readonly Held[], self: PeerId, next: PeerId): boolean {
  const isNamed = all.some(({ contract }) => contract.members.some(({ node }) => node === next));
  return isNamed && !all.some((each) => needs(each, self));
}

function needs({ contract, claims }: Held, self: PeerId): boolean {
  if (contract.state === 'ended') return false;
  const isClaimed = claims.some(
    ({ claim, details }) => claim.node === self && claimedMember(contract, claim, details) !== undefined,
  );
  return isClaimed || contract.members.some(({ node }) => node === self);
}

async function readNextKey(stateDir: string): Promise<NodeKey | undefined> {
  try {
    return parseNodeKey(await readPrivateFile(join(stateDir, NEXT_FILE)));
  } catch (error) {
    if (isMoatError(error, 'KEY_FILE_MISSING')) return undefined;
    throw error;
  }
}
