/**
 * Answers to `dns-01` that stand in the zone now. Several values under one name at
 * once are several records: an order for a domain and its wildcard asks for two.
 * Bound: `MAX_VALUES` in all; one more is refused. Values of a process that died are gone with it.
 */
import { refusal } from '../errors.ts';

const MAX_VALUES = 1_000;

export class DnsChallenges {
  /** Values by host. */
  readonly #values = new Map<string, string[]>();
  #size = 0;
  #changes = 0;

  /** Counts up with each change. */
  get changes(): number {
    return this.#changes;
  }

  valuesOf(host: string): readonly string[] {
    return this.#values.get(host) ?? [];
  }

  hosts(): Iterable<string> {
    return this.#values.keys();
  }

  /** @throws `GATEWAY_BUSY` */
  add(host: string, value: string): void {
    if (this.#size >= MAX_VALUES) throw refusal('GATEWAY_BUSY', 'as many DNS challenges as may be stand in the zone');
    this.#values.set(host, [...this.valuesOf(host), value]);
    this.#size += 1;
    this.#changes += 1;
  }

  remove(host: string, value: string): void {
    const values = this.valuesOf(host);
    const at = values.indexOf(value);
    if (at === -1) return;
    const left = values.toSpliced(at, 1);
    if (left.length === 0) this.#values.delete(host);
    else this.#values.set(host, left);
    this.#size -= 1;
    this.#changes += 1;
  }
}
