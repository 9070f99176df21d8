/** What a {@link Bag} may hold: it writes the place there. */
export interface Bagged {
  /** −1 outside of a bag. */
  place: number;
}

/**
 * A set for what comes and goes with every request. A `Set` copies its table every few dozen changes, and V8 links
 * the old table to the new one: a dead table in old space keeps the next alive, and with it every request in it,
 * until the next full collection (measured: a quarter of all allocation was promoted, 13% of a node's time).
 * No order. Bound: the caller's.
 */
export class Bag<T extends Bagged> {
  readonly #items: T[] = [];

  get size(): number {
    return this.#items.length;
  }

  /** `item` is in no bag. */
  add(item: T): void {
    item.place = this.#items.length;
    this.#items.push(item);
  }

  /** False when it is not here. */
  delete(item: T): boolean {
    const { place } = item;
    if (place === -1 || this.#items[place] !== item) return false;
    const last = this.#items.pop() as T;
    if (last !== item) {
      this.#items[place] = last;
      last.place = place;
    }
    item.place = -1;
    return true;
  }

  /** Those that are in it now; it may change meanwhile. */
  list(): readonly T[] {
    return [...this.#items];
  }
}
