import type { Stream } from './stream.ts';

const FIRST_SLOTS = 64;

/**
 * The streams of a link by id: open addressing, ids in order are slots in order. No `Map`, as that would copy its
 * table every few dozen streams and keep dead streams alive with it (see `Bag` in core). Bound: the link’s streams,
 * which is also the most steps a search takes when a peer chooses ids that collide.
 */
export class StreamTable {
  #slots: (Stream | undefined)[] = empty(FIRST_SLOTS);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): Stream | undefined {
    const slots = this.#slots;
    const mask = slots.length - 1;
    for (let at = (id >>> 1) & mask; ; at = (at + 1) & mask) {
      const stream = slots[at];
      if (stream === undefined || stream.id === id) return stream;
    }
  }

  /** No stream of this id is here. */
  add(stream: Stream): void {
    if (this.#size * 2 >= this.#slots.length) this.#grow();
    this.#insert(stream);
    this.#size += 1;
  }

  /** False when it is not here. */
  delete(id: number): boolean {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let hole = (id >>> 1) & mask;
    while (slots[hole]?.id !== id) {
      if (slots[hole] === undefined) return false;
      hole = (hole + 1) & mask;
    }
    // What follows moves up as far as its own slot allows, so that no search ends at the hole.
    for (let at = (hole + 1) & mask; ; at = (at + 1) & mask) {
      const stream = slots[at];
      if (stream === undefined) break;
      const home = (stream.id >>> 1) & mask;
      if (((at - home) & mask) < ((at - hole) & mask)) continue;
      slots[hole] = stream;
      hole = at;
    }
    slots[hole] = undefined;
    this.#size -= 1;
    return true;
  }

  /** Those that are in it now; it may change meanwhile. */
  list(): Stream[] {
    return this.#slots.filter((stream) => stream !== undefined);
  }

  #insert(stream: Stream): void {
    const mask = this.#slots.length - 1;
    let at = (stream.id >>> 1) & mask;
    while (this.#slots[at] !== undefined) at = (at + 1) & mask;
    this.#slots[at] = stream;
  }

  #grow(): void {
    const streams = this.list();
    this.#slots = empty(this.#slots.length * 2);
    for (const stream of streams) this.#insert(stream);
  }
}

function empty(slots: number): (Stream | undefined)[] {
  return Array.from({ length: slots }, () => undefined);
}
