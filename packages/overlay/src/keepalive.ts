/**
 * One timer a connection, on the side that dialed it: every minute a few bytes there and back, so that both
 * sides notice a dead path and no middlebox forgets it; four times as often to an anchor that keeps a place for us. libp2p's monitor and Yamux's keepalive are off.
 */
import { randomBytes } from 'node:crypto';
import { MoatError, type Clock, type Logger, type Timer } from '@moat/core';
import type { StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface';
import type { OverlayConnection } from './connection.ts';
import { Deadline, raced } from './deadline.ts';
import { PING_PROTOCOL } from './host.ts';
import type { OverlayLimits } from './overlay.ts';
import { stands, type Probation } from './probation.ts';

/** Milliseconds the answer may take, or one interval where that is shorter. */
const PING_MS = 10_000;
/** The same when somebody waits for the answer, and nothing that could hold it up runs on the connection. */
const CHECK_MS = 3000;
const PING_BYTES = 32;
/** What may carry so much that an answer takes long to get through. */
const BULK = /^\/moat\/link-stream\/|^\/libp2p\/circuit\//;

export interface KeepaliveDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly probation: Probation;
  /** True while the other side, an anchor, keeps a place for this machine. */
  readonly hasPlace: (connection: OverlayConnection) => boolean;
  /** Called after each answer, at most every `placeAliveMs`. */
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
    this.forget(connection);
    // up to a tenth earlier, so that a thousand connections do not beat together
    const delayMs = this.#everyMs(connection) * (1 - Math.random() / 10);
    this.#timers.set(
      connection,
      this.#deps.clock.after(delayMs, () => void this.#beat(connection, PING_MS)),
    );
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

  async #beat(connection: OverlayConnection, timeoutMs: number): Promise<void> {
    if (stands(connection)) {
      try {
        await ping(connection, this.#deps.clock, Math.min(timeoutMs, this.#everyMs(connection)));
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
}

/** One round trip on this very connection. @throws what a stream throws, or `DEADLINE_PASSED` */
async function ping(connection: OverlayConnection, clock: Clock, timeoutMs: number): Promise<void> {
  using deadline = new Deadline(clock, timeoutMs, connection.closed);
  const stream = await connection.raw.newStream(PING_PROTOCOL, {
    signal: deadline.signal,
    runOnLimitedConnection: true,
  });
  const sent = randomBytes(PING_BYTES);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let received = Buffer.alloc(0);
  stream.addEventListener('message', (event: StreamMessageEvent) => {
    received = Buffer.concat([received, event.data.subarray()]);
    if (received.length < PING_BYTES) return;
    if (received.equals(sent)) resolve();
    else reject(new MoatError('MESSAGE_INVALID', 'a wrong answer to a keepalive'));
  });
  stream.addEventListener('close', (event: StreamCloseEvent) => reject(event.error ?? new Error('closed')));
  try {
    stream.send(sent);
    await raced(promise, deadline.signal);
    await stream.close({ signal: deadline.signal });
  } catch (error) {
    promise.catch(() => undefined);
    stream.abort(error as Error);
    throw error;
  }
}
