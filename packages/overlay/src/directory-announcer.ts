/** Says to anchors, again and again, that this machine wishes to be found. */
import { errorCode, isMoatError, type Clock, type Logger, type Timer } from '@moat/core';
import type { SignedEntry } from '@moat/contract';
import type { DirectoryBook } from './directory-book.ts';
import type { Overlay } from './overlay.ts';

export interface DirectoryAnnouncerDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly overlay: Pick<Overlay, 'dial' | 'directory'>;
  /** Of this machine, where it is an anchor itself. */
  readonly book?: DirectoryBook | undefined;
  /** Signs an entry as things are now. */
  sign(): SignedEntry;
  /** Multiaddrs of anchors. */
  anchors(): readonly string[];
}

/** Milliseconds until an entry is signed anew; it lives three times as long at least. */
const RENEW_MS = 8 * 3_600_000;
/** Milliseconds until an anchor that did not take it is asked again. */
const RETRY_MS = 300_000;
const TELL_MS = 20_000;

export class DirectoryAnnouncer {
  readonly #deps: DirectoryAnnouncerDeps;
  readonly #stopped = new AbortController();
  #signed: SignedEntry | undefined;
  #signedAtMs = 0;
  /** Anchors that took the entry as it is. */
  #told = new Set<string>();
  #timer: Timer | undefined;

  constructor(deps: DirectoryAnnouncerDeps) {
    this.#deps = deps;
  }

  start(): void {
    void this.tell().finally(() => {
      if (!this.#stopped.signal.aborted) this.#timer = this.#deps.clock.after(RETRY_MS, () => this.start());
    });
  }

  stop(): void {
    this.#stopped.abort();
    this.#timer?.cancel();
  }

  /** Tells every anchor that does not know yet; resolves when all have answered or failed. */
  async tell(): Promise<void> {
    const { clock } = this.#deps;
    let signed = this.#signed;
    if (signed === undefined || clock.now() - this.#signedAtMs >= RENEW_MS) {
      this.#signed = signed = this.#deps.sign();
      this.#signedAtMs = clock.now();
      this.#told = new Set();
      this.#keep(signed);
    }
    const entry = signed;
    const missing = this.#deps.anchors().filter((address) => !this.#told.has(address));
    await Promise.all(missing.map((address) => this.#tellOne(address, entry)));
  }

  /** A book of ours that is full is no reason not to tell others. */
  #keep(signed: SignedEntry): void {
    const { book, logger } = this.#deps;
    try {
      book?.put(signed, null);
    } catch (error) {
      if (!isMoatError(error)) throw error;
      logger.warn({ component: 'overlay.directory', code: error.code }, 'own book did not take our entry');
    }
  }

  async #tellOne(address: string, signed: SignedEntry): Promise<void> {
    const { overlay, logger } = this.#deps;
    const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(TELL_MS)]);
    try {
      await overlay.directory.put(await overlay.dial([address], signal), signed, signal);
      this.#told.add(address);
    } catch (error) {
      if (this.#stopped.signal.aborted) return;
      logger.debug({ component: 'overlay.directory', address, code: errorCode(error) }, 'anchor not told of us');
    }
  }
}
