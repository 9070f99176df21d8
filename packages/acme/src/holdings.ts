/** The certificates that are held, found by host. */
import type { CertificateRecord } from './store.ts';

/** Bound: what was obtained and not forgotten. */
export class Holdings {
  readonly #byId = new Map<string, CertificateRecord>();
  /** Ids by each of their names. */
  readonly #byName = new Map<string, Set<string>>();

  get(id: string): CertificateRecord | undefined {
    return this.#byId.get(id);
  }

  all(): CertificateRecord[] {
    return [...this.#byId.values()];
  }

  put(record: CertificateRecord): void {
    this.#byId.set(record.id, record);
    for (const name of record.names) {
      const ids = this.#byName.get(name);
      if (ids) ids.add(record.id);
      else this.#byName.set(name, new Set([record.id]));
    }
  }

  remove(id: string): void {
    const record = this.#byId.get(id);
    if (!record) return;
    this.#byId.delete(id);
    for (const name of record.names) {
      const ids = this.#byName.get(name);
      ids?.delete(id);
      if (ids?.size === 0) this.#byName.delete(name);
    }
  }

  /** Of those that cover `host`, by its name or a wildcard, the one that ends last. */
  find(host: string): CertificateRecord | undefined {
    let best: CertificateRecord | undefined;
    for (const name of [host, wildcardOver(host)]) {
      for (const id of this.#byName.get(name) ?? []) {
        const record = this.#byId.get(id);
        if (record && (!best || record.notAfterMs > best.notAfterMs)) best = record;
      }
    }
    return best;
  }
}

/** The only wildcard that covers a name: RFC 6125 §6.4.3. */
export function wildcardOver(host: string): string {
  return `*${host.slice(host.indexOf('.'))}`;
}
