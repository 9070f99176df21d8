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
  /** Lines that last as long as a command, and what was in force before. Bound: the connections of the local API. */
  readonly #held = new Map<string, { holders: number; readonly before: Exposure | undefined }>();

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
    this.#held.delete(keyOf(line));
    // Public may have been taken back, and health checks begin.
    this.#deps.onChanged();
    return line;
  }

  /**
   * In force until it is released, and not kept over a restart: for commands whose word lasts as long as their
   * process. What the operator says meanwhile goes before.
   * @throws `TARGET_INVALID`, `TARGET_OWN`
   */
  hold(exposure: Exposure): { readonly line: Exposure; readonly release: () => void } {
    const kept = this.#table.list();
    const added = this.#table.add(exposure);
    const key = keyOf(added);
    const before = kept.find((each) => keyOf(each) === key);
    const isEnough = before !== undefined && (before.public || !added.public);
    const line = isEnough ? this.#table.add(before) : added;
    const known = this.#held.get(key);
    if (known === undefined && isEnough) return { line, release: () => undefined };
    if (known === undefined) this.#held.set(key, { holders: 1, before });
    else known.holders += 1;
    this.#deps.onChanged();
    let isReleased = false;
    return {
      line,
      release: () => {
        if (!isReleased) this.#release(line);
        isReleased = true;
      },
    };
  }

  /** @throws `EXPOSED_UNKNOWN`, `TARGET_INVALID`, `DISK_FULL` */
  remove(deployment: DeploymentId, target: string): void {
    const before = this.#table.list();
    if (!this.#table.remove(deployment, target)) {
      throw new MoatError('EXPOSED_UNKNOWN', `${target} is not exposed to that deployment`);
    }
    const after = new Set(this.#table.list());
    const removed = before.find((line) => !after.has(line));
    if (removed !== undefined) this.#held.delete(keyOf(removed));
    try {
      if (removed !== undefined) this.#deps.store.deleteExposed(deployment, removed.target);
    } finally {
      // Consent that was taken back is off at once, whatever the disk says.
      this.#deps.onChanged();
    }
  }

  #release(line: Exposure): void {
    const held = this.#held.get(keyOf(line));
    if (held === undefined || --held.holders > 0) return;
    this.#held.delete(keyOf(line));
    if (held.before === undefined) this.#table.remove(line.deployment, line.target);
    else this.#table.add(held.before);
    this.#deps.onChanged();
  }

  /** Takes every line of a deployment away; its rows are deleted with it. */
  forget(deployment: DeploymentId): void {
    for (const line of this.list()) {
      if (line.deployment !== deployment) continue;
      this.#table.remove(deployment, line.target);
      this.#held.delete(keyOf(line));
    }
    this.#deps.onChanged();
  }
}

function keyOf({ deployment, target }: Exposure): string {
  return `${deployment} ${target}`;
}
