/**
 * What was lately made of a text, so that it need not be made again. Header sections repeat: a client of a kept
 * connection and a service behind it say nearly the same each time.
 *
 * A text has one place, found by its length and a few of its characters, and whoever comes later takes it over: nothing
 * grows, nothing is moved, and texts made to collide cost no more than texts that were never seen. Bound: `places` texts
 * of 4,096 characters.
 */
export class Recent<V> {
  readonly #mask: number;
  readonly #texts: string[];
  readonly #values: (V | undefined)[];

  /** @param places a power of two */
  constructor(places: number = 64) {
    this.#mask = places - 1;
    this.#texts = Array.from({ length: places }, () => '');
    this.#values = Array.from({ length: places });
  }

  /** Undefined when it was not kept, or not for long. */
  get(text: string): V | undefined {
    const place = placeOf(text) & this.#mask;
    return this.#texts[place] === text ? this.#values[place] : undefined;
  }

  keep(text: string, value: V): void {
    if (text.length > MAX_LENGTH) return;
    const place = placeOf(text) & this.#mask;
    this.#texts[place] = text;
    this.#values[place] = value;
  }
}

const MAX_LENGTH = 4_096;

/** What varies in a header section stands anywhere: a few characters spread over all of it. */
function placeOf(text: string): number {
  const { length } = text;
  let hash = length;
  const step = (length >> 3) + 1;
  for (let at = length - 1; at >= 0; at -= step) hash = (hash * 31 + text.charCodeAt(at)) | 0;
  return hash ^ (hash >>> 12);
}
