/**
 * One timer a connection, on the side that dialed it: after a minute without a word twelve bytes there and back, so that both
 * sides notice a dead path and no middlebox forgets it; sooner to an anchor that keeps a place for us; rarely over a relayed
 * connection, which its anchor ends when either side falls silent there. libp2p's monitor and Yamux's timer are off.
 * Measured: a stream for each question took 19 packets, which made 20 MB a day of an idle member; Yamux's own ping takes 3.
 */
import type { Clock, Logger, Timer } from '@moat/core';
import type { OverlayConnection } from './connection.ts';
import { pulseOf } from './muxer.ts';
import type { OverlayLimits } from './overlay.ts';
import { stands, type Probation } from './probation.ts';

/** Milliseconds the answer may take, or one interval where that is shorter. A machine that has too much to do is not dead. */
const PING_MS = 10_000;
/**
 * Milliseconds without a word when somebody waits for the answer, and nothing that could hold it up runs on the connection.
 * Whoever says something else meanwhile is busy: a keeper of 500 members answers in turns that take more than a second.
 */
const CHECK_MS = 3000;
/** Milliseconds of a part of that. */
const LISTEN_MS = 500;
/** Intervals that a relayed connection may be silent: less than the five minutes after which relays end it. */
const RELAYED_INTERVALS = 4;
/** Part of the interval without a word that is worth a question: less than the shortest one, as timers are not exact. */
const QUIET = 0.89;
/** What may carry so much that an answer takes long to get through. */
const BULK = /^\/moat\/link-stream\/|^\/libp2p\/circuit\//;

export interface KeepaliveDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly probation: Probation;
  /** True while the other side, an anchor, keeps a place for this machine. */
  readonly hasPlace: (connection: OverlayConnection) => boolean;
  /** Called after each sign of life that a look found, at most every `placeAliveMs`. */
  readonly onAlive: (connection: OverlayConnection) => void;
}

/** How often. */
export type KeepaliveOptions = Pick<OverlayLimits, 'keepAliveMs' | 'placeAliveMs'>;

export class Keepalive {
  readonly #deps: KeepaliveDeps;
  readonly #options: KeepaliveOptions;
  readonly #timers = new Map<OverlayConnection, Timer>();
  readonly #checked = new Set<OverlayConnection>();

  constructor(deps: KeepaliveDeps, options: KeepaliveOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Starts the timer of a connection this side dialed, anew where it runs. */
  watch(connection: OverlayConnection): void {
    if (connection.direction !== 'outbound' || connection.closed.aborted) return;
    // up to a tenth earlier, so that a thousand connections do not beat together
    this.#lookIn(connection, this.#everyMs(connection) * (1 - Math.random() / 10));
  }

  /** Looks now whether the other side still answers; one look at a time. Never rejects. */
  async check(connection: OverlayConnection): Promise<void> {
    // on probation the other side answers nothing, and the probation ends soon; an anchor's that keeps a place for us does not
    if (this.#checked.has(connection) || !stands(connection)) return;
    this.#checked.add(connection);
    this.forget(connection);
    const isBusy = connection.raw.streams.some(({ protocol }) => BULK.test(protocol));
    await this.#beat(connection, isBusy ? PING_MS : CHECK_MS);
    this.#checked.delete(connection);
  }

  forget(connection: OverlayConnection): void {
    this.#timers.get(connection)?.cancel();
    this.#timers.delete(connection);
  }

  #everyMs(connection: OverlayConnection): number {
    const { keepAliveMs, placeAliveMs } = this.#options;
    return this.#deps.hasPlace(connection) ? Math.min(keepAliveMs, placeAliveMs) : keepAliveMs;
  }

  #lookIn(connection: OverlayConnection, delayMs: number): void {
    this.forget(connection);
    this.#timers.set(
      connection,
      this.#deps.clock.after(delayMs, () => this.#look(connection)),
    );
  }

  /** Whoever was heard meanwhile is asked later: so long after that as it may be silent. */
  #look(connection: OverlayConnection): void {
    const everyMs = this.#everyMs(connection);
    const quietMs = pulseOf(connection.raw).quietMs();
    const mayMs = connection.relayed ? everyMs * RELAYED_INTERVALS : everyMs;
    if (quietMs >= mayMs * QUIET) return void this.#beat(connection, PING_MS);
    this.#deps.onAlive(connection);
    this.#lookIn(connection, Math.min(everyMs, mayMs - quietMs));
  }

  async #beat(connection: OverlayConnection, silenceMs: number): Promise<void> {
    if (stands(connection)) {
      try {
        await this.#ask(connection, Math.min(silenceMs, this.#everyMs(connection)));
        this.#deps.onAlive(connection);
      } catch (error) {
        if (connection.closed.aborted) return;
        this.#deps.logger.info({ peer: connection.peer, connection: connection.id, err: error }, 'connection is dead');
        this.#deps.probation.close(connection, 'no answer to a keepalive');
        return;
      }
    }
    this.watch(connection);
  }

  /**
   * @throws when there is no answer in {@link PING_MS}, or no word of whatever kind for `silenceMs`. Both count in parts of
   * {@link LISTEN_MS}, of which one that took longer counts as one: while this machine itself was busy it neither asked nor heard.
   */
  async #ask({ closed, raw }: OverlayConnection, silenceMs: number): Promise<void> {
    closed.throwIfAborted();
    const pulse = pulseOf(raw);
    const over = new AbortController();
    const end = (): void => over.abort(closed.reason);
    closed.addEventListener('abort', end);
    const partMs = Math.min(LISTEN_MS, silenceMs);
    let [waitedMs, silentMs, heardAt] = [0, 0, pulse.heardAt()];
    let isOver = false;
    const count = (): void => {
      waitedMs += partMs;
      silentMs = pulse.heardAt() === heardAt ? silentMs + partMs : 0;
      heardAt = pulse.heardAt();
      if (silentMs >= silenceMs || waitedMs >= PING_MS)
        over.abort(new Error(`no word for ${silentMs} of ${waitedMs} ms`));
      else if (!isOver) timer = listen();
    };
    // what came in this part is read before it is counted
    const listen = (): Timer => this.#deps.clock.after(partMs, () => setImmediate(count));
    let timer = listen();
    try {
      await pulse.ping(over);
    } finally {
      isOver = true;
      timer.cancel();
      closed.removeEventListener('abort', end);
    }
  }
}
