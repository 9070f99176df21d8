import { sleep, type Clock, type PeerId } from '@moat/core';
import type { OverlayConnection } from './connection.ts';

/** Milliseconds before each try; before every further one as before the last. */
const DELAYS_MS = [500, 2000, 8000, 30_000, 60_000];
/** Milliseconds after which tries count anew. */
const FORGIVEN_MS = 600_000;

export interface SecondTriesDeps {
  readonly clock: Clock;
  /** The connection to talk on now. */
  readonly connectionTo: (peer: PeerId) => OverlayConnection | undefined;
  /** Brings both sides up to date. Never rejects. */
  readonly compare: (connection: OverlayConnection) => Promise<void>;
}

/**
 * Compares again with a peer when news was lost on the way to or from it, although a connection stands: machines that are
 * busy miss deadlines. Bound: one wait a peer, after the first few one a minute.
 */
export class SecondTries {
  readonly #deps: SecondTriesDeps;
  readonly #tries = new Map<PeerId, { count: number; lastAt: number; isWaiting: boolean }>();

  constructor(deps: SecondTriesDeps) {
    this.#deps = deps;
  }

  /** To call when news was lost. Never rejects. */
  async add(peer: PeerId): Promise<void> {
    const { clock, compare, connectionTo } = this.#deps;
    const known = this.#tries.get(peer) ?? { count: 0, lastAt: clock.now(), isWaiting: false };
    if (Math.abs(clock.now() - known.lastAt) >= FORGIVEN_MS) known.count = 0;
    const delayMs = DELAYS_MS[known.count] ?? DELAYS_MS.at(-1);
    const connection = connectionTo(peer);
    if (known.isWaiting || delayMs === undefined || connection === undefined) return;
    known.count += 1;
    known.isWaiting = true;
    this.#tries.set(peer, known);
    // By another connection, if this one ends meanwhile.
    await sleep(clock, delayMs, connection.closed).catch(() => undefined);
    known.isWaiting = false;
    known.lastAt = clock.now();
    const now = connectionTo(peer);
    if (now !== undefined) await compare(now);
  }

  /** To call when the last connection to a peer is gone. */
  forget(peer: PeerId): void {
    this.#tries.delete(peer);
  }
}
