/** {@link CertificateStore} without a disk: for tests, and the twin that implementations are compared with. */
import type {
  AccountRecord,
  CertificateChange,
  CertificateRecord,
  CertificateState,
  CertificateStore,
  FailureRecord,
  OrderRecord,
  SpentRecord,
} from './store.ts';

/** Bound: what is wanted, and what was spent since `spentBeforeMs` was last told. */
export class MemoryCertificateStore implements CertificateStore {
  readonly #accounts = new Map<string, AccountRecord>();
  readonly #orders = new Map<string, OrderRecord>();
  readonly #certificates = new Map<string, CertificateRecord>();
  readonly #failures = new Map<string, FailureRecord>();
  #spent: SpentRecord[] = [];

  load(): Promise<CertificateState> {
    return Promise.resolve({
      accounts: [...this.#accounts.values()],
      orders: [...this.#orders.values()],
      certificates: [...this.#certificates.values()],
      failures: [...this.#failures.values()],
      spent: [...this.#spent],
    });
  }

  commit(change: CertificateChange): Promise<void> {
    const { account, order, certificate, failure, endedOrder, healed, spentBeforeMs } = change;
    for (const id of change.forgotten ?? []) {
      this.#certificates.delete(id);
      removeOf(this.#orders, id);
      removeOf(this.#failures, id);
    }
    if (endedOrder) this.#orders.delete(keyOf(endedOrder));
    if (healed !== undefined) removeOf(this.#failures, healed);
    if (account) this.#accounts.set(account.directory, account);
    if (order) this.#orders.set(keyOf(order), order);
    if (certificate) this.#certificates.set(certificate.id, certificate);
    if (failure) this.#failures.set(keyOf(failure), failure);
    if (spentBeforeMs !== undefined) this.#spent = this.#spent.filter(({ atMs }) => atMs >= spentBeforeMs);
    this.#spent.push(...(change.spent ?? []));
    return Promise.resolve();
  }
}

function keyOf({ id, directory }: { readonly id: string; readonly directory: string }): string {
  return `${id} ${directory}`;
}

function removeOf(map: Map<string, { readonly id: string }>, id: string): void {
  for (const [key, entry] of map) if (entry.id === id) map.delete(key);
}
