/**
 * What was lately made of a text, so that it need not be made again. Header sections repeat: a client of a kept
 * connection and a service behind it say nearly the same each time.
 *
 * A text has one place, found by its length and a few of its characters, and whoever comes later takes it over: nothing
 * grows, nothing is moved, and texts made to collide cost no more than texts that were never seen. Bound: 64 texts of
 * 4,096 characters.
 */
export class Recent<V> {
  readonly #texts: string[] = Array.from({ length: PLACES }, () => '');
  readonly #values: (V | undefined)[] = Array.from({ length: PLACES });

  /** Undefined when it was not kept, or not for long. */
  get(text: string): V | undefined {
    const place = placeOf(text);
    return this.#texts[place] === text ? this.#values[place] : undefined;
  }

  keep(text: string, value: V): void {
    if (text.length > MAX_LENGTH) return;
    const place = placeOf(text);
    this.#texts[place] = text;
    this.#values[place] = value;
  }
}

const PLACES = 64;
const MAX_LENGTH = 4_096;

/** What varies in a header section stands anywhere: a few characters spread over all of it. */
function placeOf(text: string): number {
  const { length } = text;
  let hash = length;
  const step = (length >> 3) + 1;
  for (let at = length - 1; at >= 0; at -= step) hash = (hash * 31 + text.charCodeAt(at)) | 0;
  return (hash ^ (hash >>> 12)) & (PLACES - 1);
}
