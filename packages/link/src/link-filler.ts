/** Sends a connected peer tickets, unasked, until every worker has a link to it. */
import { MoatError, errorCode } from '@moat/core';
import type { Clock, Logger, PeerConnection, PeerId, Timer } from '@moat/core';

import { createDeadline } from './deadline.ts';
import type { WorkerLink, WorkerTable } from './worker-table.ts';

/** Milliseconds that one peer's answer to an offer, and the first link that follows, may take. */
const OFFER_MS = 5000;
/** Milliseconds for the other links of that offer: they are dialed at once, or not at all where none is direct. */
const REST_MS = 1000;
/** Milliseconds before a peer whose worker still has no link is sent another ticket; doubles. */
const AGAIN_MIN_MS = 250;
const AGAIN_MAX_MS = 60_000;
/** A link younger than this that ended is no reason to hurry. */
const YOUNG_MS = 10_000;

export interface LinkFillerDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly table: WorkerTable;
  /** The connection over which a peer is sent tickets; undefined where it is away, or may have no link. */
  readonly connectionOf: (peer: PeerId) => PeerConnection | undefined;
  /** Sends a ticket for each of these workers; resolves when one of the links stands. */
  readonly offer: (connection: PeerConnection, workers: readonly number[], signal: AbortSignal) => Promise<unknown>;
}

/** How it goes with one peer. */
interface Filling {
  timer: Timer | undefined;
  delayMs: number;
  /** While an offer runs: ends the wait for what follows from it. */
  running: AbortController | undefined;
}

/** Bound: one offer a connected peer at a time, and one timer for the next. */
export class LinkFiller {
  readonly #deps: LinkFillerDeps;
  readonly #fillings = new Map<PeerId, Filling>();
  readonly #stopped = new AbortController();

  constructor(deps: LinkFillerDeps) {
    this.#deps = deps;
  }

  /** To call when a worker may lack a link to the peer. */
  fill(peer: PeerId): void {
    const known = this.#fillings.get(peer);
    if (known?.running !== undefined || this.#stopped.signal.aborted) return;
    known?.timer?.cancel();
    const connection = this.#deps.connectionOf(peer);
    if (connection === undefined) return void this.#fillings.delete(peer);
    if (!this.#isLacking(peer)) return;
    const filling: Filling = known ?? { timer: undefined, delayMs: AGAIN_MIN_MS, running: undefined };
    this.#fillings.set(peer, filling);
    const running = new AbortController();
    filling.running = running;
    void this.#offer(connection, running.signal).finally(() => {
      filling.running = undefined;
      // What interrupted it is news.
      if (running.signal.aborted) this.fill(peer);
      else if (this.#isLacking(peer)) this.#later(peer, filling);
      else filling.delayMs = AGAIN_MIN_MS;
    });
  }

  /** The same, for somebody who waits: what failed before is no reason to be slow. */
  hurry(peer: PeerId): void {
    const filling = this.#fillings.get(peer);
    if (filling !== undefined) filling.delayMs = AGAIN_MIN_MS;
    this.fill(peer);
  }

  /** A link is over. */
  ended({ peer, since }: WorkerLink): void {
    const filling = this.#fillings.get(peer);
    const isYoung = this.#deps.clock.now() - since < YOUNG_MS;
    if (filling !== undefined && isYoung) this.#later(peer, filling);
    else this.hurry(peer);
  }

  /** The workers changed: what is waited for may never come. */
  interrupt(): void {
    for (const { running } of this.#fillings.values()) {
      running?.abort(new MoatError('LINK_FAILED', 'the workers changed', { retryable: true }));
    }
  }

  stop(): void {
    this.#stopped.abort(new MoatError('LINK_CLOSED', 'this machine stops'));
    for (const { timer } of this.#fillings.values()) timer?.cancel();
  }

  #isLacking(peer: PeerId): boolean {
    const { connectionOf, table } = this.#deps;
    return connectionOf(peer) !== undefined && table.lacking(peer).length > 0;
  }

  #later(peer: PeerId, filling: Filling): void {
    if (filling.running !== undefined || this.#stopped.signal.aborted) return;
    filling.timer?.cancel();
    filling.timer = this.#deps.clock.after(filling.delayMs, () => this.fill(peer));
    filling.delayMs = Math.min(AGAIN_MAX_MS, filling.delayMs * 2);
  }

  async #offer(connection: PeerConnection, interrupted: AbortSignal): Promise<void> {
    const { clock, logger, offer, table } = this.#deps;
    const { peer } = connection;
    using deadline = createDeadline(clock, OFFER_MS, AbortSignal.any([this.#stopped.signal, interrupted]));
    const { signal } = deadline;
    const workers = table.lacking(peer);
    try {
      await offer(connection, workers, signal);
      using rest = createDeadline(clock, REST_MS, signal);
      while (table.lacking(peer).some((worker) => workers.includes(worker))) await table.next(peer, rest.signal);
    } catch (error) {
      logger.debug({ peer, connection: connection.id, code: errorCode(error) }, 'no link to a worker yet');
    }
  }
}
