import { MoatError } from './errors.ts';

/** First in, first out, with a bound. Drop rule: a push beyond `capacity` is refused with `QUEUE_FULL`. */
export class BoundedQueue<T> {
  readonly capacity: number;
  #items: T[] = [];
  #head = 0;

  constructor(capacity: number) {
    this.capacity = capacity;
  }

  get length(): number {
    return this.#items.length - this.#head;
  }

  /** @throws `QUEUE_FULL` when `capacity` items wait. */
  push(item: T): void {
    if (this.length >= this.capacity) {
      throw new MoatError('QUEUE_FULL', `queue holds its limit of ${this.capacity} items`, { retryable: true });
    }
    this.#items.push(item);
  }

  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head];
    this.#items[this.#head] = undefined as T;
    this.#head += 1;
    if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}
