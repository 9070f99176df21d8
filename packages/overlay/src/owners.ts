/** Owners who proved themselves on a connection to this keeper: what such a connection may ask for goes on asking here. */
import type { DeploymentId, Logger, OwnerKey } from '@moat/core';
import type { SignedOwnerProof } from '@moat/contract';
import type { OverlayConnection } from './connection.ts';
import type { OwnersView } from './owners-view.ts';
import type { Probation } from './probation.ts';

/** What owners ask of a keeper. */
export const PROPOSALS_PROTOCOL = '/moat/proposals/1';
/** Deployments that one connection may be admitted for as an owner's; more are refused. */
const MAX_PER_CONNECTION = 8;
/** Connections of one owner to one deployment; the oldest is given up, whatever PeerIds they come from. */
const MAX_PER_OWNER = 4;

/** Why a connection stays: an owner of this deployment proved itself on it. */
export function ownerReason(deployment: DeploymentId): string {
  return `owner:${deployment}`;
}

export interface OwnersDeps {
  readonly logger: Logger;
  readonly probation: Probation;
  readonly owners: OwnersView;
}

interface Proved {
  readonly connection: OverlayConnection;
  readonly deployment: DeploymentId;
  readonly owner: OwnerKey;
}

/** Bound: {@link MAX_PER_OWNER} connections an owner key and deployment, {@link MAX_PER_CONNECTION} deployments each. */
export class Owners {
  readonly #deps: OwnersDeps;
  /** Oldest first. */
  readonly #proved = new Set<Proved>();

  constructor(deps: OwnersDeps) {
    this.#deps = deps;
  }

  /** Admits the connection for the owner who signed; null for everybody else. */
  async prove(connection: OverlayConnection, signed: SignedOwnerProof): Promise<OwnerKey | null> {
    const { logger, owners, probation } = this.#deps;
    const { deployment } = signed.proof;
    if (this.#of(connection).filter((held) => held.deployment !== deployment).length >= MAX_PER_CONNECTION) return null;
    const owner = await owners.proveOwner(signed, connection.peer);
    if (owner === null || connection.closed.aborted) return null;
    this.#drop((held) => held.connection === connection && held.deployment === deployment);
    const others = [...this.#proved].filter((held) => held.owner === owner && held.deployment === deployment);
    if (others.length >= MAX_PER_OWNER && others[0] !== undefined) this.#end(others[0]);
    this.#proved.add({ connection, deployment, owner });
    probation.admit(connection, ownerReason(deployment));
    logger.info({ peer: connection.peer, deployment }, 'owner admitted');
    return owner;
  }

  /** True while an owner of this deployment stands behind the connection. */
  admitted(connection: OverlayConnection, deployment: DeploymentId): boolean {
    return this.#of(connection).some(
      (held) => held.deployment === deployment && this.#deps.owners.isOwner(deployment, held.owner),
    );
  }

  /**
   * To call when deployments changed: who is no owner any more has no reason to stay. One whose own request did that
   * gets its answer first: until then, and for a probation at most after it, the connection stays, admitted to nothing.
   */
  review(): void {
    for (const held of this.#proved) {
      if (this.#deps.owners.isOwner(held.deployment, held.owner)) continue;
      if (!isAnswered(held.connection)) this.#lapse(held);
      else this.#end(held);
    }
  }

  forget(connection: OverlayConnection): void {
    this.#drop((held) => held.connection === connection);
  }

  #of(connection: OverlayConnection): Proved[] {
    return [...this.#proved].filter((held) => held.connection === connection);
  }

  #lapse(held: Proved): void {
    this.#proved.delete(held);
    this.#deps.probation.lapse(held.connection, ownerReason(held.deployment));
  }

  #end(held: Proved): void {
    this.#proved.delete(held);
    this.#deps.probation.withdraw(held.connection, ownerReason(held.deployment));
  }

  #drop(matches: (held: Proved) => boolean): void {
    for (const held of this.#proved) if (matches(held)) this.#proved.delete(held);
  }
}

/** True when no request of an owner runs on the connection: the stream of one ends with its answer. */
function isAnswered({ raw }: OverlayConnection): boolean {
  return !raw.streams.some(({ protocol, direction }) => protocol === PROPOSALS_PROTOCOL && direction === 'inbound');
}
