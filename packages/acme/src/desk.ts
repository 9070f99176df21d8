/** Where orders are placed: the authorities in their order, what was spent at each, what is begun, and what failed. */
import { errorCode, isMoatError, type Clock, type ErrorDetails, type Logger } from '@moat/core';
import { Authority, type AuthorityOptions } from './authority.ts';
import { SPENT_MS, allowanceOf, limitsOf, registeredDomain } from './budget.ts';
import type { CertificateIssuer } from './certificates.ts';
import type { ChallengeSolver } from './challenge.ts';
import { failure } from './errors.ts';
import { Failures } from './failures.ts';
import { obtainCertificate } from './order.ts';
import { retryAfter } from './schedule.ts';
import type { CertificateRecord, CertificateState, CertificateStore, OrderRecord, SpentRecord } from './store.ts';

export interface OrderDeskDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: Pick<CertificateStore, 'commit'>;
  readonly random: () => number;
  /** Best first. */
  readonly solvers: readonly ChallengeSolver[];
}

export interface OrderDeskOptions {
  readonly authorities: readonly AuthorityOptions[];
  /** Ends every order. */
  readonly signal: AbortSignal;
}

/** Names that one certificate is wanted for, and what is held of it. */
export interface Wanted {
  readonly id: string;
  readonly names: readonly string[];
  readonly held: CertificateRecord | undefined;
}

/** Milliseconds for one order; then it is taken up again later. */
const ORDER_MS = 600_000;
/** Milliseconds for which an authority that does not answer is not asked again for other names. */
const OUTAGE_MS = 60_000;
/** An order that was begun longer ago is over at every authority. */
const ORDER_LIFE_MS: number = SPENT_MS;

/** Bounds: begun orders and failures by what is wanted; what was spent by the limits, for seven days. */
export class OrderDesk {
  readonly failures: Failures = new Failures();
  readonly #deps: OrderDeskDeps;
  readonly #signal: AbortSignal;
  readonly #authorities: readonly Authority[];
  /** Begun and not ended, by id and directory. */
  readonly #orders = new Map<string, OrderRecord>();
  #spent: SpentRecord[];
  /** Until when no first order is placed at an authority for a registered domain. Bound: domains that met a limit. */
  readonly #fullUntilMs = new Map<string, number>();

  /** @param state as it was kept */
  constructor(deps: OrderDeskDeps, { authorities, signal }: OrderDeskOptions, state: CertificateState) {
    this.#deps = deps;
    this.#signal = signal;
    const now = deps.clock.now();
    this.#spent = state.spent.filter(({ atMs }) => atMs > now - SPENT_MS);
    for (const record of state.failures) this.failures.put(record);
    for (const record of state.orders) {
      if (now - record.createdMs < ORDER_LIFE_MS) this.#orders.set(keyOf(record), record);
    }
    this.#authorities = authorities.map((options) => {
      const account = state.accounts.find(({ directory }) => directory === options.directory);
      return new Authority(deps, options, { account, signal });
    });
  }

  /** What CAA records know the authorities by, as far as their directories were read. */
  issuers(): CertificateIssuer[] {
    return this.#authorities.flatMap(({ identities, accountUrl }) =>
      identities.map((identity) => ({ identity, accountUri: accountUrl })),
    );
  }

  /** The configured authority with this directory. */
  authority(directory: string): Authority | undefined {
    return this.#authorities.find((authority) => authority.directory === directory);
  }

  /** When it is to be ordered, from whichever authority may be asked first. */
  dueMs(wanted: Wanted, now: number): number {
    return this.#authorities.reduce((ms, authority) => Math.min(ms, this.#dueAtMs(wanted, authority, now)), Infinity);
  }

  /** Orders from the first authority that gives it; undefined when none does. Failures are kept and told. */
  async order(wanted: Wanted): Promise<CertificateRecord | undefined> {
    for (const authority of this.#authorities) {
      const now = this.#deps.clock.now();
      if (this.#dueAtMs(wanted, authority, now) > now) continue;
      try {
        return await this.#orderFrom(authority, wanted);
      } catch (error) {
        if (this.#signal.aborted) return undefined;
        await this.#failed(wanted.id, authority, error);
        if (!ABOUT_AUTHORITY.has(errorCode(error))) return undefined;
      }
    }
    return undefined;
  }

  /** Nobody wants it any more. */
  forget(id: string): void {
    this.failures.remove(id);
    for (const { directory } of this.#authorities) this.#orders.delete(keyOf({ id, directory }));
  }

  close(): void {
    for (const authority of this.#authorities) authority.close();
  }

  /** When it may, and should, be ordered from `authority`. */
  #dueAtMs({ id, names, held }: Wanted, authority: Authority, now: number): number {
    // What came from an authority that is configured no more is replaced at once.
    const wantedMs = held && this.authority(held.directory) ? held.renewAtMs : now;
    const last = this.failures.last(id);
    const failed = last && !ABOUT_AUTHORITY.has(last.code) ? last : this.failures.at(id, authority.directory);
    const domain = held ? '' : registeredDomain(names[0] ?? '');
    const fullMs = this.#fullUntilMs.get(`${domain} ${authority.directory}`) ?? 0;
    return Math.max(wantedMs, failed?.nextMs ?? 0, authority.blockedUntilMs, fullMs);
  }

  async #orderFrom(authority: Authority, wanted: Wanted): Promise<CertificateRecord> {
    const { clock } = this.#deps;
    const { id, names, held } = wanted;
    const { directory } = authority;
    const begun = this.#orders.get(keyOf({ id, directory }));
    if (begun?.url === undefined) this.#checkBudget(wanted, authority);
    const late = new AbortController();
    const timer = clock.after(ORDER_MS, () => {
      const message = `${authority.host} did not finish the order in time`;
      late.abort(failure('ACME_UNREACHABLE', message, { retryable: true }));
    });
    try {
      const obtained = await obtainCertificate(
        {
          ...this.#deps,
          authority,
          onRecord: (record) => {
            this.#orders.set(keyOf(record), record);
            if (record.url !== undefined) this.#spend({ directory, kind: 'order', id, atMs: clock.now() });
          },
        },
        {
          id,
          names,
          begun,
          previous: held?.directory === directory ? held : undefined,
          failures: this.failures.at(id, directory)?.count ?? 0,
        },
        AbortSignal.any([this.#signal, late.signal]),
      );
      this.#orders.delete(keyOf(obtained));
      this.failures.remove(id);
      this.#spend({ directory, kind: 'certificate', id, atMs: obtained.obtainedMs });
      return obtained;
    } finally {
      timer.cancel();
    }
  }

  /** @throws `ACME_LIMITED` */
  #checkBudget({ id, names, held }: Wanted, authority: Authority): void {
    const { directory, host } = authority;
    const now = this.#deps.clock.now();
    const spent = this.#spent.filter((entry) => entry.directory === directory);
    const order = { id, names, isRenewal: held !== undefined };
    const { atMs, scope } = allowanceOf(order, spent, limitsOf(directory), now);
    if (atMs <= now) return;
    // Whoever waits for the same is not tried, one after the other, to find the same.
    if (scope === 'orders') authority.blockedUntilMs = atMs;
    else if (scope !== 'names') this.#fullUntilMs.set(`${scope.domain} ${directory}`, atMs);
    throw failure('ACME_LIMITED', `as many certificates as ${host} gives for such names were ordered lately`, {
      details: { retryAfterMs: atMs - now },
      retryable: true,
    });
  }

  async #failed(id: string, authority: Authority, error: unknown): Promise<void> {
    const { clock, logger, random, store } = this.#deps;
    const { directory } = authority;
    const code = errorCode(error);
    const details: ErrorDetails = isMoatError(error) ? error.details : {};
    const askedMs = typeof details['retryAfterMs'] === 'number' ? details['retryAfterMs'] : undefined;
    const now = clock.now();
    if (code === 'ACME_UNREACHABLE') authority.blockedUntilMs = now + Math.max(OUTAGE_MS, askedMs ?? 0);
    const count = (this.failures.at(id, directory)?.count ?? 0) + 1;
    const nextMs = now + retryAfter(code, count, askedMs, random());
    const message = isMoatError(error) ? error.message : 'an error within Moat, of which its log says more';
    const record = { id, directory, count, atMs: now, nextMs, code, message };
    const fields = { component: 'acme', name: id, directory, code, err: error, next: new Date(nextMs).toISOString() };
    logger.warn(fields, 'certificate not obtained');
    // In memory first: a full disk must not make us try again at once.
    this.failures.put(record);
    const order = this.#orders.get(keyOf({ id, directory }));
    const isOver = order !== undefined && (order.url === undefined || ENDS_ORDER.has(code));
    if (isOver) this.#orders.delete(keyOf(order));
    await store.commit({ failure: record, ...(isOver && { endedOrder: { id, directory } }) });
  }

  #spend(record: SpentRecord): void {
    const since = this.#deps.clock.now() - SPENT_MS;
    this.#spent = [...this.#spent.filter(({ atMs }) => atMs > since), record];
  }
}

/** After these an order is of no use. */
const ENDS_ORDER: ReadonlySet<string> = new Set([
  'ACME_CAA',
  'ACME_CHALLENGE_FAILED',
  'ACME_CERTIFICATE_WRONG',
  'ACME_NO_CHALLENGE',
  'ACME_ORDER_FAILED',
  'ACME_REFUSED',
]);

/** After these another authority may well give what this one did not. Else: a proof that fails here fails there. */
const ABOUT_AUTHORITY: ReadonlySet<string> = new Set([
  'ACME_CAA',
  'ACME_CERTIFICATE_WRONG',
  'ACME_LIMITED',
  'ACME_ORDER_FAILED',
  'ACME_REFUSED',
  'ACME_UNREACHABLE',
]);

function keyOf({ id, directory }: { readonly id: string; readonly directory: string }): string {
  return `${id} ${directory}`;
}
