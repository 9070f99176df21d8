/**
 * {@link AcmeCertificates}: at any time at most four orders run, for what has no certificate first. What a crash
 * could lose is in the store; what is in memory only is what is wanted, which its owner says again.
 */
import type { OrderDesk, Wanted } from './desk.ts';
import type {
  AcmeCertificates,
  AcmeCertificatesDeps,
  AcmeCertificatesOptions,
  CertificateIssuer,
  CertificateReport,
  HeldCertificate,
} from './certificates.ts';
import { readChain, renewalIdOf } from './chain.ts';
import { Holdings, wildcardOver } from './holdings.ts';
import { askAgainAfterMs, renewInWindow } from './schedule.ts';
import { certificateId, type CertificateRecord } from './store.ts';
import { SPENT_MS } from './budget.ts';

/** Makes the certificates of a process; nothing is asked before `start`. */
export function createAcmeCertificates(deps: AcmeCertificatesDeps, options: AcmeCertificatesOptions): AcmeCertificates {
  return new ManagedCertificates(deps, options);
}

/** Names of one certificate that is wanted. */
interface Wish {
  readonly id: string;
  readonly names: readonly string[];
  /** Told when a try ends. Bound: one a handshake that waits. */
  readonly waiting: Set<() => void>;
}

const MAX_RUNNING = 4;
/** A timer runs no longer than this: clocks are set, machines sleep. */
const MAX_SLEEP_MS = 3_600_000;

class ManagedCertificates implements AcmeCertificates {
  readonly #deps: AcmeCertificatesDeps;
  readonly #options: AcmeCertificatesOptions;
  readonly #random: () => number;
  readonly #holdings = new Holdings();
  #wishes = new Map<string, Wish>();
  #wishesByName = new Map<string, Wish>();
  readonly #running = new Map<string, { readonly wish: Wish; readonly done: Promise<void> }>();
  readonly #listeners = new Set<(certificate: HeldCertificate) => void>();
  #stopping = new AbortController();
  #desk: OrderDesk | undefined;
  #timer: { cancel(): void } | undefined;

  constructor(deps: AcmeCertificatesDeps, options: AcmeCertificatesOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#random = deps.random ?? Math.random;
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    const { clock, logger, store, solvers } = this.#deps;
    const { authorities, challenges = solvers.map(({ kind }) => kind) } = this.#options;
    const state = await store.load();
    // With https and all that belongs to it, which a process that only shows proofs has no use for.
    const { OrderDesk: Desk } = await import('./desk.ts');
    for (const record of state.certificates) this.#holdings.put(record);
    this.#stopping = new AbortController();
    const ordered = challenges.flatMap((kind) => solvers.filter((solver) => solver.kind === kind));
    this.#desk = new Desk(
      { clock, logger, store, random: this.#random, solvers: ordered },
      { authorities, signal: this.#stopping.signal },
      state,
    );
    this.#wake(0);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#timer?.cancel();
    await Promise.all([...this.#running.values()].map(({ done }) => done));
    this.#desk?.close();
    this.#desk = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  want(certificates: readonly (readonly string[])[]): void {
    const wishes = new Map<string, Wish>();
    const byName = new Map<string, Wish>();
    for (const names of certificates) {
      const id = certificateId(names);
      const known = this.#wishes.get(id) ?? this.#running.get(id)?.wish;
      const wish = known ?? { id, names: names.toSorted(), waiting: new Set() };
      wishes.set(id, wish);
      for (const name of names) byName.set(name, wish);
    }
    this.#wishes = wishes;
    this.#wishesByName = byName;
    this.#wake(0);
  }

  find(host: string): HeldCertificate | undefined {
    return this.#holdings.find(host);
  }

  async obtain(host: string, ms: number): Promise<HeldCertificate | undefined> {
    const held = this.find(host);
    const wish = this.#wishesByName.get(host) ?? this.#wishesByName.get(wildcardOver(host));
    if (held || !wish || !this.#isUnderWay(wish)) return held;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        timer.cancel();
        wish.waiting.delete(done);
        resolve();
      };
      const timer = this.#deps.clock.after(ms, done);
      wish.waiting.add(done);
    });
    return this.find(host);
  }

  onObtained(listener: (certificate: HeldCertificate) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  list(): CertificateReport[] {
    const now = this.#deps.clock.now();
    return [...this.#wishes.values()].map((wish) => {
      const wanted = this.#wanted(wish);
      const { held } = wanted;
      const isRunning = this.#running.has(wish.id);
      const without = isRunning ? 'ordering' : held ? 'expired' : 'waiting';
      const failed = this.#desk?.failures.last(wish.id);
      const dueMs = this.#desk?.dueMs(wanted, now) ?? Infinity;
      return {
        names: wish.names,
        state: held !== undefined && held.notAfterMs > now ? 'valid' : without,
        directory: failed?.directory ?? held?.directory ?? this.#options.authorities[0]?.directory ?? '',
        held,
        issuer: held && readChain(held.certificate).issuer,
        failure: failed && { code: failed.code, message: failed.message, atMs: failed.atMs, count: failed.count },
        nextMs: isRunning || dueMs === Infinity ? undefined : Math.max(now, dueMs),
        explanation: held?.explanation,
      };
    });
  }

  issuers(): CertificateIssuer[] {
    return this.#desk?.issuers() ?? [];
  }

  /** Runs what is due after `delayMs`, and then whenever something is. */
  #wake(delayMs: number): void {
    this.#timer?.cancel();
    if (this.#stopping.signal.aborted || !this.#desk) return;
    this.#timer = this.#deps.clock.after(Math.min(MAX_SLEEP_MS, Math.max(0, delayMs)), () => this.#work());
  }

  #work(): void {
    const now = this.#deps.clock.now();
    const planned = [...this.#wishes.values()]
      .filter(({ id }) => !this.#running.has(id))
      .map((wish) => ({ wish, dueMs: this.#dueMs(wish, now), endMs: this.#holdings.get(wish.id)?.notAfterMs ?? 0 }));
    const due = planned.filter(({ dueMs }) => dueMs <= now).toSorted((a, b) => a.endMs - b.endMs);
    const free = Math.max(0, MAX_RUNNING - this.#running.size);
    for (const { wish } of due.slice(0, free)) this.#run(wish);
    const next = planned.filter(({ dueMs }) => dueMs > now).reduce((ms, { dueMs }) => Math.min(ms, dueMs), Infinity);
    this.#wake(next - now);
    void this.#forget(now);
  }

  /** Nothing is thrown. */
  #run(wish: Wish): void {
    const done = this.#try(wish)
      .catch((err: unknown) => {
        const fields = { component: 'acme', name: wish.id, err };
        this.#deps.logger.error(fields, 'what became of a certificate could not be kept');
      })
      .finally(() => {
        this.#running.delete(wish.id);
        for (const tell of wish.waiting) tell();
        this.#wake(0);
      });
    this.#running.set(wish.id, { wish, done });
  }

  async #try(wish: Wish): Promise<void> {
    const now = this.#deps.clock.now();
    const { held } = this.#wanted(wish);
    if (held && (held.askAgainMs ?? Infinity) <= now) await this.#askRenewal(held);
    const obtained = await this.#desk?.order(this.#wanted(wish));
    if (!obtained) return;
    const { names, directory, notAfterMs } = obtained;
    this.#holdings.put(obtained);
    const until = new Date(notAfterMs).toISOString();
    this.#deps.logger.info({ component: 'acme', names, directory, until }, 'certificate obtained');
    for (const listener of this.#listeners) listener(obtained);
  }

  /** RFC 9773: the authority may want it renewed sooner, or later, than we would. */
  async #askRenewal(held: CertificateRecord): Promise<void> {
    const { clock, logger, store } = this.#deps;
    const renewalId = await renewalIdOf(held.certificate);
    const now = clock.now();
    let next = { ...held, askAgainMs: now + askAgainAfterMs(undefined) };
    try {
      const info = renewalId && (await this.#desk?.authority(held.directory)?.renewalInfo(renewalId));
      if (info) {
        next = {
          ...next,
          renewAtMs: renewInWindow(info.window, held, held.renewAtMs, this.#random()),
          askAgainMs: now + askAgainAfterMs(info.retryAfterMs),
          explanation: info.explanation,
        };
      }
    } catch (err) {
      if (this.#stopping.signal.aborted) return;
      logger.debug({ component: 'acme', name: held.id, err }, 'no renewal information');
    }
    // In memory first: a full disk must not make us ask again at once.
    this.#holdings.put(next);
    await store.commit({ certificate: next });
  }

  #wanted({ id, names }: Wish): Wanted {
    return { id, names, held: this.#holdings.get(id) };
  }

  /** When something is to be done for it. */
  #dueMs(wish: Wish, now: number): number {
    const wanted = this.#wanted(wish);
    return Math.min(this.#desk?.dueMs(wanted, now) ?? Infinity, wanted.held?.askAgainMs ?? Infinity);
  }

  #isUnderWay(wish: Wish): boolean {
    const now = this.#deps.clock.now();
    return this.#running.has(wish.id) || this.#dueMs(wish, now) <= now;
  }

  /** What nobody wants goes when it is over. */
  async #forget(now: number): Promise<void> {
    const isUnwanted = (id: string): boolean => !this.#wishes.has(id) && !this.#running.has(id);
    const over = this.#holdings.all().filter(({ id, notAfterMs }) => notAfterMs < now && isUnwanted(id));
    const failed = this.#desk?.failures.ids().filter((id) => isUnwanted(id) && !this.#holdings.get(id)) ?? [];
    const forgotten = [...over.map(({ id }) => id), ...failed];
    // Before the first word of what is wanted, nothing is unwanted.
    if (forgotten.length === 0 || this.#wishes.size === 0) return;
    for (const id of forgotten) {
      this.#holdings.remove(id);
      this.#desk?.forget(id);
    }
    try {
      await this.#deps.store.commit({ forgotten, spentBeforeMs: now - SPENT_MS });
    } catch (err) {
      this.#deps.logger.error({ component: 'acme', err }, 'certificates nobody wants are still kept');
    }
  }
}
