/** What an anchor knows of the public directory. */
import { randomBytes } from 'node:crypto';
import { MoatError, RateLimit, isMoatError, toBase64url, type Clock } from '@moat/core';
import {
  parseSignedEntry,
  parseTime,
  replacesEntry,
  subjectOf,
  verifyEntry,
  type DirectoryEntry,
  type DirectoryRole,
  type SignedEntry,
} from '@moat/contract';

/** Keeps entries over a restart; each call is on disk when it returns. */
export interface DirectoryStore {
  load(): readonly SignedEntry[];
  save(subject: string, signed: SignedEntry): void;
  delete(subject: string): void;
}

/** Entries as a store wrote them. What an older version wrote and this one does not know is left out: it is announced again. */
export function readEntries(texts: readonly string[]): readonly SignedEntry[] {
  return texts.flatMap((text) => {
    try {
      return [parseSignedEntry(text)];
    } catch (error) {
      if (isMoatError(error)) return [];
      throw error;
    }
  });
}

/** What is asked for; what is absent, any. */
export interface DirectoryQuery {
  readonly kind?: 'node' | 'person' | undefined;
  readonly role?: DirectoryRole | undefined;
  readonly region?: string | undefined;
  readonly handle?: string | undefined;
  /** Only what came after this place of the book. */
  readonly after?: number | undefined;
}

export interface DirectoryPage {
  readonly entries: readonly SignedEntry[];
  /** Where to go on; null = this was the end. */
  readonly next: number | null;
  /** The newest place; with `instance` it tells a copy where to go on later. */
  readonly newest: number;
  /** Another one after a restart: places begin anew. */
  readonly instance: string;
}

export interface DirectoryBookDeps {
  readonly clock: Clock;
  /** @defaultValue kept in memory alone */
  readonly store?: DirectoryStore;
}

/**
 * Bounds of a book. When it is full whoever is in it stays and renews, and nobody new comes in; what expires makes room.
 */
export interface DirectoryLimits {
  /** @defaultValue 40000 */
  readonly entries: number;
  /** Persons of one handle. @defaultValue 8 */
  readonly perHandle: number;
  /** Of the entries, persons: they may stay more than a year, and leave machines, which do not, their room. @defaultValue 30000 */
  readonly persons: number;
  /** New entries that one address may bring in a day. @defaultValue 32 */
  readonly newPerOrigin: number;
}

const DEFAULT_LIMITS: DirectoryLimits = { entries: 40_000, persons: 30_000, perHandle: 8, newPerOrigin: 32 };
const DAY_MS = 86_400_000;
/** Milliseconds between two looks for what is over. */
const EXPIRE_MS = 60_000;
/** Of one page, so that it fits a message. */
const PAGE_BYTES = 48 * 1024;
/** Entries looked at for one page: what is asked for seldom costs more questions, not longer answers. */
const MAX_LOOKED_AT = 4_000;
/** Places of entries that are gone, besides as many as there are entries, until the rest moves up. */
const MAX_HOLES = 1_000;

interface Kept {
  readonly signed: SignedEntry;
  readonly place: number;
  readonly bytes: number;
  readonly expiresMs: number;
  gone: boolean;
}

export class DirectoryBook {
  readonly #deps: DirectoryBookDeps;
  readonly #limits: DirectoryLimits;
  readonly #instance = toBase64url(randomBytes(9));
  readonly #kept = new Map<string, Kept>();
  /** Ascending; entries that are gone leave holes. */
  #places: Kept[] = [];
  readonly #perHandle = new Map<string, number>();
  #persons = 0;
  readonly #newcomers: RateLimit;
  #newest = 0;
  #expiredMs = 0;

  constructor(deps: DirectoryBookDeps, limits: Partial<DirectoryLimits> = {}) {
    this.#deps = deps;
    this.#limits = { ...DEFAULT_LIMITS, ...limits };
    this.#newcomers = new RateLimit(
      { now: () => deps.clock.now() },
      { count: this.#limits.newPerOrigin, perMs: DAY_MS, maxKeys: 10_000 },
    );
    for (const signed of deps.store?.load() ?? []) this.#keep(signed);
  }

  get size(): number {
    return this.#kept.size;
  }

  /**
   * Takes an entry that is newer than what is known of its subject; false when it is not. It is on disk then.
   * @param origin whom new entries are counted for; null = nobody: a copy of another anchor's book, or our own.
   * @throws `DIRECTORY_FORGED`, `DIRECTORY_EXPIRED`, `DIRECTORY_FULL`
   */
  put(signed: SignedEntry, origin: string | null): boolean {
    const { entry } = signed;
    const subject = subjectOf(entry);
    const known = this.#kept.get(subject);
    if (known && !replacesEntry(entry, known.signed.entry)) return false;
    verifyEntry(signed, this.#deps.clock.now());
    if (!known) this.#requireRoom();
    this.#requireHandle(entry, known?.signed.entry);
    if (!known && origin !== null && this.#newcomers.take(origin) > 0) {
      throw full('this address brought too many new ones today');
    }
    this.#deps.store?.save(subject, signed);
    this.#forget(subject);
    this.#keep(signed);
    return true;
  }

  /** As many as fit one message and were found in a bounded search, in the order in which they came. */
  list(query: DirectoryQuery): DirectoryPage {
    const now = this.#deps.clock.now();
    const entries: SignedEntry[] = [];
    let bytes = 0;
    let last = query.after ?? 0;
    const from = this.#indexAfter(last);
    const until = Math.min(this.#places.length, from + MAX_LOOKED_AT);
    for (const kept of this.#places.slice(from, until)) {
      if (!kept.gone && kept.expiresMs > now && matches(kept.signed, query)) {
        bytes += kept.bytes;
        if (bytes > PAGE_BYTES) return this.#page(entries, last);
        entries.push(kept.signed);
      }
      last = kept.place;
    }
    return this.#page(entries, until < this.#places.length ? last : null);
  }

  #page(entries: readonly SignedEntry[], next: number | null): DirectoryPage {
    return { entries, next, newest: this.#newest, instance: this.#instance };
  }

  /** Index of the first place above `place`. */
  #indexAfter(place: number): number {
    let [low, high] = [0, this.#places.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#places[middle]?.place ?? Infinity) <= place) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #requireRoom(): void {
    const now = this.#deps.clock.now();
    if (now - this.#expiredMs >= EXPIRE_MS || this.#kept.size >= this.#limits.entries) this.#expire(now);
    if (this.#kept.size >= this.#limits.entries) throw full('this anchor knows as many as it can');
  }

  /** Whoever is in it under another handle is as new there as anybody. */
  #requireHandle(entry: DirectoryEntry, known: DirectoryEntry | undefined): void {
    if (entry.kind !== 'person') return;
    if (known === undefined && this.#persons >= this.#limits.persons)
      throw full('this anchor knows as many people as it can');
    if (known?.kind === 'person' && known.handle === entry.handle) return;
    if ((this.#perHandle.get(entry.handle) ?? 0) >= this.#limits.perHandle)
      throw full(`too many are called ${entry.handle}`);
  }

  #keep(signed: SignedEntry): void {
    const { entry } = signed;
    this.#newest += 1;
    const kept: Kept = {
      signed,
      place: this.#newest,
      bytes: Buffer.byteLength(JSON.stringify(signed)) + 1,
      expiresMs: parseTime(entry.expires),
      gone: false,
    };
    this.#kept.set(subjectOf(entry), kept);
    this.#places.push(kept);
    if (this.#places.length > 2 * this.#kept.size + MAX_HOLES) this.#places = this.#places.filter(({ gone }) => !gone);
    if (entry.kind !== 'person') return;
    this.#persons += 1;
    this.#perHandle.set(entry.handle, (this.#perHandle.get(entry.handle) ?? 0) + 1);
  }

  #forget(subject: string): void {
    const kept = this.#kept.get(subject);
    if (kept === undefined) return;
    kept.gone = true;
    this.#kept.delete(subject);
    const { entry } = kept.signed;
    if (entry.kind !== 'person') return;
    this.#persons -= 1;
    const left = (this.#perHandle.get(entry.handle) ?? 1) - 1;
    if (left > 0) this.#perHandle.set(entry.handle, left);
    else this.#perHandle.delete(entry.handle);
  }

  #expire(now: number): void {
    this.#expiredMs = now;
    for (const [subject, { expiresMs }] of this.#kept) {
      if (expiresMs > now) continue;
      this.#forget(subject);
      this.#deps.store?.delete(subject);
    }
  }
}

function matches({ entry }: SignedEntry, { kind, role, region, handle }: DirectoryQuery): boolean {
  if (kind !== undefined && entry.kind !== kind) return false;
  if (handle !== undefined && (entry.kind !== 'person' || entry.handle !== handle)) return false;
  if (role !== undefined && (entry.kind !== 'node' || !entry.roles.includes(role))) return false;
  return region === undefined || (entry.kind === 'node' && entry.region === region);
}

function full(reason: string): MoatError<'DIRECTORY_FULL'> {
  return new MoatError('DIRECTORY_FULL', `the entry was not taken: ${reason}`, { retryable: true });
}
