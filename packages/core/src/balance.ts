/**
 * Health-aware choice among the instances of a service: power of two choices over load
 * (Mitzenmacher, 2001). Load = requests in flight, made heavier by failures that fade with time.
 * Pure: time and chance are passed in. Used by `network` (opening) and `gateway` (routing).
 */

/** Time and chance of a {@link Balancer}. */
export interface BalancerDeps {
  /** Milliseconds; only differences matter. */
  now(): number;
  /** Uniform in [0, 1). */
  random(): number;
  /** The same number throughout one turn of the loop, another in the next. Absent = each choice is one by itself. */
  turn?(): number;
}

export interface BalancerOptions {
  /** A failure's weight halves in this time. @defaultValue 5000 */
  readonly halfLifeMs?: number;
  /** From this sum of failure weights on, an instance counts as unhealthy. @defaultValue 0.5 */
  readonly unhealthyAbove?: number;
  /** Failures add up to at most this weight, which bounds the time to forget them. @defaultValue 8 */
  readonly maxPenalty?: number;
}

interface Instance {
  inFlight: number;
  penalty: number;
  penaltyAt: number;
  /** Verdict of an active check; undefined when there is none. */
  checked: boolean | undefined;
}

/** A failure weighs as much as this many requests in flight. */
const FAILURE_LOAD = 16;

/** A failure that has faded below this is forgotten: else the smallest remainder would decide every tie. */
const FORGOTTEN_BELOW = 0.01;

/** From so many keys on, two are drawn before the others are looked at. */
const MANY_KEYS = 8;

/** So many choices of one turn may fall on one of many keys. */
const MOST_IN_TURN = 4;

/** Among those only while its load is at most so much above that of the better of two others. */
const LOAD_AHEAD = 4;

const everyKey = (): boolean => true;

/**
 * Chooses among instances and learns from what happens to the chosen one. The caller frames each use:
 * `begin` — then `success` or `failure` once the instance has answered or not — and `end` when it is over.
 *
 * Of many keys, choices of one turn of the loop fall on one key a few times in a row: what a link is given in one turn
 * leaves as one TLS record and one write, and comes as one read, at both ends. Spread over 100 members every request
 * pays for its own. Bound: {@link MOST_IN_TURN} in a row, of a healthy key that is not clearly more loaded than the one
 * that would be chosen instead.
 * Memory: one record per key ever begun or judged; {@link Balancer.retain} forgets the others.
 */
export class Balancer<K> {
  readonly #deps: BalancerDeps;
  readonly #halfLifeMs: number;
  readonly #unhealthyAbove: number;
  readonly #maxPenalty: number;
  readonly #instances = new Map<K, Instance>();
  /** The last choice among many: where it stands, when it was made, how often since. */
  #lastAt = 0;
  #lastKey: K | undefined;
  #lastTurn: number | undefined;
  #inTurn = 0;

  constructor(deps: BalancerDeps, options: BalancerOptions = {}) {
    this.#deps = deps;
    this.#halfLifeMs = options.halfLifeMs ?? 5_000;
    this.#unhealthyAbove = options.unhealthyAbove ?? 0.5;
    this.#maxPenalty = options.maxPenalty ?? 8;
  }

  /**
   * The better of two random instances among the healthy keys; among all keys when none is healthy, so
   * that a service whose every instance failed is still tried. Undefined only when none of `keys` is `usable`.
   */
  pick(keys: readonly K[], usable: (key: K) => boolean = everyKey): K | undefined {
    if (keys.length >= MANY_KEYS) {
      // Of many, two are nearly always good: looking at all of them would cost more than the rest of the choice.
      const first = this.#below(keys.length);
      const second = this.#other(keys.length, first);
      const [a, b] = [keys[first] as K, keys[second] as K];
      if (usable(a) && usable(b) && this.healthy(a) && this.healthy(b)) {
        const better = this.#better(a, b);
        return this.#lastOr(keys, better === a ? first : second, usable);
      }
    }
    const there = usable === everyKey ? keys : keys.filter((key) => usable(key));
    if (there.length < 2) return there[0];
    const healthy = there.filter((key) => this.healthy(key));
    const candidates = healthy.length > 0 ? healthy : there;
    if (candidates.length < 2) return candidates[0];
    const first = this.#below(candidates.length);
    const second = this.#other(candidates.length, first);
    return this.#better(candidates[first] as K, candidates[second] as K);
  }

  /** One more use of `key` is in flight, until {@link Balancer.end}. */
  begin(key: K): void {
    this.#instance(key).inFlight += 1;
  }

  /** A use of `key` is over, however it went. */
  end(key: K): void {
    const instance = this.#instances.get(key);
    if (instance && instance.inFlight > 0) instance.inFlight -= 1;
  }

  /** `key` answered: earlier failures are forgiven. */
  success(key: K): void {
    const instance = this.#instances.get(key);
    if (instance) instance.penalty = 0;
  }

  /** `key` could not be reached or did not answer. */
  failure(key: K): void {
    const instance = this.#instance(key);
    instance.penalty = Math.min(this.#maxPenalty, this.#penalty(instance) + 1);
    instance.penaltyAt = this.#deps.now();
  }

  /** The verdict of an active health check, which stands until the next; undefined = no check any more. */
  setChecked(key: K, healthy: boolean | undefined): void {
    this.#instance(key).checked = healthy;
  }

  healthy(key: K): boolean {
    const instance = this.#instances.get(key);
    if (!instance) return true;
    return instance.checked !== false && this.#penalty(instance) <= this.#unhealthyAbove;
  }

  /** Requests in flight plus the weight of recent failures; lower is better. */
  load(key: K): number {
    const instance = this.#instances.get(key);
    return instance ? instance.inFlight + FAILURE_LOAD * this.#penalty(instance) : 0;
  }

  inFlight(key: K): number {
    return this.#instances.get(key)?.inFlight ?? 0;
  }

  /** Forgets all keys but these. */
  retain(keys: Iterable<K>): void {
    const kept = new Set(keys);
    for (const key of this.#instances.keys()) if (!kept.has(key)) this.#instances.delete(key);
  }

  /** What was chosen last, if in this turn and not too often, instead of the key that stands at `at`. */
  #lastOr(keys: readonly K[], at: number, usable: (key: K) => boolean): K {
    const turn = this.#deps.turn?.();
    const key = keys[at] as K;
    if (turn === undefined) return key;
    const last = this.#lastKey as K;
    if (turn === this.#lastTurn && this.#inTurn < MOST_IN_TURN && keys[this.#lastAt] === last) {
      const isGood = this.load(last) <= this.load(key) + LOAD_AHEAD && this.healthy(last) && usable(last);
      if (isGood) {
        this.#inTurn += 1;
        return last;
      }
    }
    this.#lastAt = at;
    this.#lastKey = key;
    this.#lastTurn = turn;
    this.#inTurn = 1;
    return key;
  }

  #better(a: K, b: K): K {
    return this.load(b) < this.load(a) ? b : a;
  }

  #below(count: number): number {
    return Math.floor(this.#deps.random() * count);
  }

  /** One of the others: shifting past `first` keeps every pair equally likely. */
  #other(count: number, first: number): number {
    const second = this.#below(count - 1);
    return second >= first ? second + 1 : second;
  }

  #penalty(instance: Instance): number {
    if (instance.penalty === 0) return 0;
    const elapsedMs = Math.max(0, this.#deps.now() - instance.penaltyAt);
    const penalty = instance.penalty * 0.5 ** (elapsedMs / this.#halfLifeMs);
    return penalty < FORGOTTEN_BELOW ? 0 : penalty;
  }

  #instance(key: K): Instance {
    let instance = this.#instances.get(key);
    if (!instance) {
      instance = { inFlight: 0, penalty: 0, penaltyAt: 0, checked: undefined };
      this.#instances.set(key, instance);
    }
    return instance;
  }
}
