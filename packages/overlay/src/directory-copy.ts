/** Keeps the book of one anchor like those of others that its operator named: any one of them may die. */
import { errorCode, isMoatError, type Clock, type Logger, type PeerConnection, type Timer } from '@moat/core';
import type { DirectoryBook } from './directory-book.ts';
import type { Overlay } from './overlay.ts';

export interface DirectoryCopyDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly overlay: Pick<Overlay, 'dial' | 'directory'>;
  readonly book: DirectoryBook;
}

export interface DirectoryCopyOptions {
  /** Multiaddrs with `/p2p/<PeerId>`. What they send is not counted against {@link DirectoryLimits.newPerOrigin}. */
  readonly anchors: readonly string[];
  /** Milliseconds between two looks. @defaultValue 30000 */
  readonly everyMs?: number;
}

/** Pages of one look; the rest comes with the next. */
const MAX_PAGES = 200;
const LOOK_MS = 60_000;

interface Cursor {
  readonly instance: string;
  readonly after: number;
}

export class DirectoryCopy {
  readonly #deps: DirectoryCopyDeps;
  readonly #options: DirectoryCopyOptions;
  readonly #cursors = new Map<string, Cursor>();
  readonly #stopped = new AbortController();
  #timer: Timer | undefined;

  constructor(deps: DirectoryCopyDeps, options: DirectoryCopyOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  start(): void {
    if (this.#options.anchors.length > 0) this.#again(0);
  }

  stop(): void {
    this.#stopped.abort();
    this.#timer?.cancel();
  }

  /** Looks at every anchor once; resolves when all have answered or failed. */
  async look(): Promise<void> {
    await Promise.all(this.#options.anchors.map((address) => this.#copy(address)));
  }

  #again(afterMs: number): void {
    this.#timer = this.#deps.clock.after(afterMs, () => {
      void this.look().finally(() => {
        if (!this.#stopped.signal.aborted) this.#again(this.#options.everyMs ?? 30_000);
      });
    });
  }

  async #copy(address: string): Promise<void> {
    const { overlay, logger } = this.#deps;
    const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(LOOK_MS)]);
    try {
      const connection = await overlay.dial([address], signal);
      for (let page = 0; page < MAX_PAGES; page += 1) {
        if (!(await this.#page(address, connection, signal))) return;
      }
    } catch (error) {
      if (this.#stopped.signal.aborted) return;
      logger.debug({ component: 'overlay.directory', address, code: errorCode(error) }, 'book of an anchor not copied');
    }
  }

  /** True when there is more. */
  async #page(address: string, connection: PeerConnection, signal: AbortSignal): Promise<boolean> {
    const known = this.#cursors.get(address);
    const page = await this.#deps.overlay.directory.list(connection, { after: known?.after ?? 0 }, signal);
    if (known !== undefined && known.instance !== page.instance) {
      // It began anew: so do we.
      this.#cursors.set(address, { instance: page.instance, after: 0 });
      return true;
    }
    for (const signed of page.entries) {
      try {
        this.#deps.book.put(signed, null);
      } catch (error) {
        // One bad entry keeps nobody from the others.
        if (!isMoatError(error)) throw error;
        this.#deps.logger.debug({ component: 'overlay.directory', address, code: error.code }, 'entry not copied');
      }
    }
    this.#cursors.set(address, { instance: page.instance, after: page.next ?? page.newest });
    return page.next !== null;
  }
}
