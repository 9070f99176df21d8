/** Deployments that are held here for an owner, though this machine may have no place in them. */
import type { DeploymentId } from '@moat/core';
import type { OwnerStore } from '../store/owner-store.ts';

export interface GuestsDeps {
  readonly store: Pick<OwnerStore, 'locators' | 'saveLocator'>;
}

/** The locators: where the keepers of such deployments are. */
export class Guests {
  readonly #deps: GuestsDeps;
  #located = new Map<DeploymentId, readonly string[]>();

  constructor(deps: GuestsDeps) {
    this.#deps = deps;
  }

  /** Takes what is on disk. */
  load(): void {
    this.#located = new Map(this.#deps.store.locators());
  }

  has(id: DeploymentId): boolean {
    return this.#located.has(id);
  }

  /** Multiaddrs with `/p2p/` of keepers. */
  addresses(id: DeploymentId): readonly string[] {
    return this.#located.get(id) ?? [];
  }

  /** In memory only: to call before a deployment is taken, so that nobody looks for its members meanwhile. */
  expect(id: DeploymentId): void {
    if (!this.#located.has(id)) this.#located.set(id, []);
  }

  /** On disk from now on. @throws `DISK_FULL` */
  save(id: DeploymentId, addresses: readonly string[]): void {
    this.#deps.store.saveLocator(id, addresses);
    this.#located.set(id, addresses);
  }

  forget(id: DeploymentId): void {
    this.#located.delete(id);
  }
}
