/** Milliseconds for the search of a request that was let in for its member. */
const SEARCH_MS = 3_000;

/**
 * When links say that they take no new streams, after a gateway began to go down: not at once, as a request that was let in
 * a moment ago may still look for its member, or for another one.
 * @param ms that everything has, in milliseconds
 */
export function farewellMs(ms: number): number {
  return Math.min(SEARCH_MS, ms / 2);
}
