/** What the operator exposed: the table the data path asks, and its copy on disk. */
import { MoatError, type DeploymentId } from '@moat/core';
import { ExposedTable, type ExposedTargets, type Exposure, type SocketAddress } from '@moat/network';
import type { MachineStore } from './store/machine-store.ts';

export interface ConsentDeps {
  readonly store: Pick<MachineStore, 'exposed' | 'saveExposed' | 'deleteExposed'>;
  /** Every socket Moat itself listens on now. */
  readonly ownSockets: () => Iterable<SocketAddress>;
  /** Running streams are judged again, and services asked how they are. */
  readonly onChanged: () => void;
}

export class Consent {
  readonly #deps: ConsentDeps;
  readonly #table: ExposedTable;

  constructor(deps: ConsentDeps) {
    this.#deps = deps;
    this.#table = new ExposedTable({ ownSockets: deps.ownSockets });
  }

  get targets(): ExposedTargets {
    return this.#table;
  }

  /** Takes what is on disk. */
  load(): void {
    for (const line of this.#deps.store.exposed()) this.#table.add(line);
  }

  list(): readonly Exposure[] {
    return this.#table.list();
  }

  /** In force once on disk; replaces a line for the same target. @throws `TARGET_INVALID`, `TARGET_OWN`, `DISK_FULL` */
  add(exposure: Exposure): Exposure {
    const before = this.#table.list();
    const line = this.#table.add(exposure);
    try {
      this.#deps.store.saveExposed(line);
    } catch (error) {
      this.#table.remove(line.deployment, line.target);
      const replaced = before.find(
        ({ deployment, target }) => deployment === line.deployment && target === line.target,
      );
      if (replaced !== undefined) this.#table.add(replaced);
      throw error;
    }
    // Public may have been taken back, and health checks begin.
    this.#deps.onChanged();
    return line;
  }

  /** @throws `EXPOSED_UNKNOWN`, `TARGET_INVALID`, `DISK_FULL` */
  remove(deployment: DeploymentId, target: string): void {
    const before = this.#table.list();
    if (!this.#table.remove(deployment, target)) {
      throw new MoatError('EXPOSED_UNKNOWN', `${target} is not exposed to that deployment`);
    }
    const after = new Set(this.#table.list());
    const removed = before.find((line) => !after.has(line));
    try {
      if (removed !== undefined) this.#deps.store.deleteExposed(deployment, removed.target);
    } finally {
      // Consent that was taken back is off at once, whatever the disk says.
      this.#deps.onChanged();
    }
  }

  /** Takes every line of a deployment away; its rows are deleted with it. */
  forget(deployment: DeploymentId): void {
    for (const line of this.list()) if (line.deployment === deployment) this.#table.remove(deployment, line.target);
    this.#deps.onChanged();
  }
}
