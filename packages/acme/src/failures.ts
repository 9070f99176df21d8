/** What failed, by certificate and authority, and when it may be tried again. Bound: what is wanted times authorities. */
import type { FailureRecord } from './store.ts';

export class Failures {
  /** By id, then by directory. */
  readonly #byId = new Map<string, Map<string, FailureRecord>>();

  put(record: FailureRecord): void {
    const of = this.#byId.get(record.id);
    if (of) of.set(record.directory, record);
    else this.#byId.set(record.id, new Map([[record.directory, record]]));
  }

  at(id: string, directory: string): FailureRecord | undefined {
    return this.#byId.get(id)?.get(directory);
  }

  /** The one that happened last. */
  last(id: string): FailureRecord | undefined {
    return [...(this.#byId.get(id)?.values() ?? [])].toSorted((a, b) => b.atMs - a.atMs)[0];
  }

  ids(): string[] {
    return [...this.#byId.keys()];
  }

  remove(id: string): void {
    this.#byId.delete(id);
  }
}
