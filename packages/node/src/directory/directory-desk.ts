/** Asks anchors about the public directory, and tells them, for whoever sits at this machine. */
import { MoatError, errorCode, type Clock, type PeerId } from '@moat/core';
import { partsFrom, peerIdOfMultiaddr, replacesEntry, subjectOf, verifyEntry, type SignedEntry } from '@moat/contract';
import type { Announced, AskedAnchor, FindRequest, Found, Notice, ToldAnchor } from '@moat/admin-api';
import type { DirectoryBook, DirectoryPage, Overlay } from '@moat/overlay';
import { documentOf } from '../api/report.ts';
import { deadline } from '../deadline.ts';

export interface DirectoryDeskDeps {
  readonly self: PeerId;
  readonly clock: Clock;
  readonly overlay: Pick<Overlay, 'dial' | 'directory'>;
  /** Of this machine, where it is an anchor itself. */
  readonly book?: DirectoryBook | undefined;
  /** Multiaddrs of anchors that this machine knows. */
  readonly anchors: () => readonly string[];
}

const ASK_MS = 8_000;
/** Anchors asked at once; they copy each other. */
const MAX_ASKED = 4;
/** Pages of one anchor. */
const MAX_PAGES = 100;
/** Of one person's key, where it was given on in several. */
const MAX_WAYS = 4;

export class DirectoryDesk {
  readonly #deps: DirectoryDeskDeps;

  constructor(deps: DirectoryDeskDeps) {
    this.#deps = deps;
  }

  /**
   * The newest of each subject that any of a few anchors knows; where a key was given on in two ways, of each of them, as
   * anchors may know only the one that is not meant. @throws `NO_ANCHOR_KNOWN` */
  async find(query: FindRequest, signal: AbortSignal): Promise<Found> {
    const { self, book } = this.#deps;
    const newest: Newest = new Map();
    const asked: AskedAnchor[] = [];
    if (book !== undefined) {
      const entries = await this.#pages(newest, (after) => Promise.resolve(book.list({ ...query, after })));
      asked.push({ anchor: self, entries, error: null });
    }
    await Promise.all(
      this.#anchors().map(async ([anchor, addresses]) => {
        try {
          const limit = within(signal);
          const connection = await this.#deps.overlay.dial(addresses, limit);
          const page = (after: number): Promise<DirectoryPage> =>
            this.#deps.overlay.directory.list(connection, { ...query, after }, limit);
          asked.push({ anchor, entries: await this.#pages(newest, page), error: null });
        } catch (error) {
          signal.throwIfAborted();
          asked.push({ anchor, entries: 0, error: noticeOf(error) });
        }
      }),
    );
    return { entries: [...newest.values()].flat().map(documentOf), asked };
  }

  /** Has every anchor that is asked first take an entry. @throws `NO_ANCHOR_KNOWN`, `DIRECTORY_FORGED`, `DIRECTORY_EXPIRED` */
  async announce(signed: SignedEntry, signal: AbortSignal): Promise<Announced> {
    const { self, book, clock, overlay } = this.#deps;
    verifyEntry(signed, clock.now());
    const told: ToldAnchor[] = [];
    const anchors = this.#anchors();
    if (book !== undefined) {
      told.push({ anchor: self, error: this.#keep(book, signed) });
    }
    await Promise.all(
      anchors.map(async ([anchor, addresses]) => {
        try {
          const limit = within(signal);
          await overlay.directory.put(await overlay.dial(addresses, limit), signed, limit);
          told.push({ anchor, error: null });
        } catch (error) {
          signal.throwIfAborted();
          told.push({ anchor, error: noticeOf(error) });
        }
      }),
    );
    return { told };
  }

  /** Null when our own book has it; full, it is no reason not to tell others. */
  #keep(book: DirectoryBook, signed: SignedEntry): Notice | null {
    try {
      book.put(signed, null);
      return null;
    } catch (error) {
      return noticeOf(error);
    }
  }

  #anchors(): [PeerId, string[]][] {
    const byPeer = new Map<PeerId, string[]>();
    for (const address of this.#deps.anchors()) {
      const peer = peerIdOfMultiaddr(address);
      if (peer !== this.#deps.self) byPeer.set(peer, [...(byPeer.get(peer) ?? []), address]);
    }
    if (byPeer.size === 0 && this.#deps.book === undefined) {
      throw new MoatError('NO_ANCHOR_KNOWN', 'this machine knows no anchor to ask about the directory', {
        next: [
          'moat apply, or moat join, of a network that has anchors: those are asked',
          'directoryAnchors: in node.yaml names others',
        ],
      });
    }
    return [...byPeer].slice(0, MAX_ASKED);
  }

  /** How many came; what does not hold is passed over. */
  async #pages(newest: Newest, page: (after: number) => Promise<DirectoryPage>): Promise<number> {
    let count = 0;
    let after = 0;
    for (let read = 0; read < MAX_PAGES; read += 1) {
      const { entries, next } = await page(after);
      for (const signed of entries) {
        const subject = subjectOf(signed.entry);
        const known = newest.get(subject) ?? [];
        const others = known.filter(({ entry }) => !replacesEntry(signed.entry, entry));
        if (others.length === MAX_WAYS || !others.every(({ entry }) => partsFrom(signed.entry, entry))) continue;
        try {
          verifyEntry(signed, this.#deps.clock.now());
        } catch {
          continue;
        }
        newest.set(subject, [...others, signed]);
        count += 1;
      }
      if (next === null) break;
      after = next;
    }
    return count;
  }
}

/** By subject. */
type Newest = Map<string, readonly SignedEntry[]>;

function within(signal: AbortSignal): AbortSignal {
  return deadline(ASK_MS, new MoatError('DEADLINE_PASSED', 'the anchor did not answer in time'), signal);
}

function noticeOf(error: unknown): Notice {
  return { code: errorCode(error), message: error instanceof Error ? error.message : 'failed' };
}
