/**
 * One order from its first request to the certificate, or on from wherever an earlier process was stopped: what would
 * be lost by a crash is written down before it is used. The key comes first, the order's URL before any proof is shown,
 * so an order is never placed twice and a certificate that was issued is fetched.
 */
import type { Authorization, Order } from 'acme-client';
import { errorCode, isMoatError, sleep, type Clock } from '@moat/core';
import type { Authority } from './authority.ts';
import { createCertificateRequest, createKey } from './certificate-request.ts';
import { checkChain, renewalIdOf } from './chain.ts';
import type { Challenge, ChallengeSolver } from './challenge.ts';
import { failure } from './errors.ts';
import { PROBLEM, problemOf } from './problem.ts';
import { renewAfterLife } from './schedule.ts';
import type { CertificateRecord, CertificateStore, OrderRecord } from './store.ts';

export interface OrderDeps {
  readonly clock: Clock;
  readonly store: Pick<CertificateStore, 'commit'>;
  readonly random: () => number;
  readonly authority: Pick<
    Authority,
    | 'authorization'
    | 'authorizations'
    | 'certificate'
    | 'challenge'
    | 'directory'
    | 'finalize'
    | 'host'
    | 'newOrder'
    | 'order'
    | 'retryAfterMs'
    | 'tellReady'
  >;
  /** Best first. */
  readonly solvers: readonly ChallengeSolver[];
  /** Told whenever the record changes. */
  onRecord(record: OrderRecord): void;
}

/** What is to be obtained. */
export interface OrderJob {
  readonly id: string;
  readonly names: readonly string[];
  /** The certificate that it renews, of the same authority. */
  readonly previous: CertificateRecord | undefined;
  /** An order that was begun before. */
  readonly begun: OrderRecord | undefined;
  /** Tries that failed: each time another kind of proof is taken first. */
  readonly failures: number;
}

/** Milliseconds between two looks at what the authority is doing, where it does not say: doubled from the first on. */
const FIRST_POLL_MS = 100;
const MAX_POLL_MS = 15_000;
/** Milliseconds for a solver to show its proof everywhere. */
const PRESENT_MS = 60_000;

/**
 * Obtains the certificate and keeps it.
 * @throws `ACME_…`; the order is resumable unless its record was ended, which is the caller's to do
 */
export async function obtainCertificate(
  deps: OrderDeps,
  job: OrderJob,
  signal: AbortSignal,
): Promise<CertificateRecord> {
  const { authority } = deps;
  let record = job.begun;
  if (!record) {
    const { id, names } = job;
    record = {
      id,
      names,
      directory: authority.directory,
      key: createKey(),
      url: undefined,
      createdMs: deps.clock.now(),
    };
    await keep(deps, record);
  }
  let order = record.url === undefined ? undefined : await resume(deps, record.url);
  if (!order) {
    order = await place(deps, job);
    record = { ...record, url: order.url };
    await keep(deps, record, true);
  }
  for (let look = 0; ; look++) {
    signal.throwIfAborted();
    if (order.status === 'valid') return finish(deps, record, await authority.certificate(order));
    if (order.status === 'invalid') {
      const words = problemOf(order.error)?.detail ?? 'it gave no reason';
      throw failure('ACME_ORDER_FAILED', `${authority.host} ended the order: ${words}`);
    }
    const before: Order['status'] = order.status;
    if (before === 'pending') await prove(deps, job, order, signal);
    order =
      before === 'ready'
        ? await authority.finalize(order, await createCertificateRequest(record.names, record.key))
        : await authority.order(order.url);
    if (order.status === before || order.status === 'processing') {
      await sleep(deps.clock, pollMs(deps, order, look), signal);
    }
  }
}

async function keep(deps: OrderDeps, record: OrderRecord, isPlaced = false): Promise<void> {
  const { id, directory } = record;
  const spent = [{ directory, kind: 'order' as const, id, atMs: deps.clock.now() }];
  await deps.store.commit({ order: record, ...(isPlaced && { spent }) });
  deps.onRecord(record);
}

/** Undefined when the authority knows it no more. */
async function resume({ authority }: OrderDeps, url: string): Promise<Order | undefined> {
  try {
    const order = await authority.order(url);
    return order.status === 'invalid' ? undefined : order;
  } catch (error) {
    if (isMoatError(error, 'ACME_REFUSED')) return undefined;
    throw error;
  }
}

async function place({ authority }: OrderDeps, { names, previous }: OrderJob): Promise<Order> {
  const replaces = previous && (await renewalIdOf(previous.certificate));
  try {
    return await authority.newOrder(names, replaces);
  } catch (error) {
    if (replaces === undefined || !isMoatError(error, 'ACME_REFUSED')) throw error;
    // It may have been replaced already; then this is an order like any other.
    return authority.newOrder(names, undefined);
  }
}

/** Proves each name in turn, and sees each proof taken. */
async function prove(deps: OrderDeps, job: OrderJob, order: Order, signal: AbortSignal): Promise<void> {
  for (const authorization of await deps.authority.authorizations(order)) {
    if (authorization.status === 'pending') await proveOne(deps, job, authorization, signal);
    else if (authorization.status !== 'valid') throw notSeen(deps, authorization);
  }
}

async function proveOne(
  deps: OrderDeps,
  job: OrderJob,
  authorization: Authorization,
  signal: AbortSignal,
): Promise<void> {
  const { authority, clock } = deps;
  const { solver, offered } = choose(deps, job, authorization);
  const name = authorization.identifier.value.toLowerCase();
  const challenge = await authority.challenge(name, solver.kind, offered.token);
  try {
    await present(deps, solver, challenge, signal);
    await authority.tellReady(offered);
    for (let look = 0; ; look++) {
      const now = await authority.authorization(authorization.url);
      if (now?.status === 'valid') return;
      if (now?.status !== 'pending') throw notSeen(deps, now ?? authorization);
      await sleep(clock, pollMs(deps, now, look), signal);
    }
  } finally {
    await solver.remove(challenge);
  }
}

/** @throws `ACME_CHALLENGE_FAILED` when the solver cannot, or takes too long */
async function present(
  { clock }: OrderDeps,
  solver: ChallengeSolver,
  challenge: Challenge,
  signal: AbortSignal,
): Promise<void> {
  const late = new AbortController();
  const timer = clock.after(PRESENT_MS, () => late.abort());
  try {
    await solver.present(challenge, AbortSignal.any([signal, late.signal]));
  } catch (cause) {
    signal.throwIfAborted();
    const reason = late.signal.aborted ? 'it took too long' : errorCode(cause);
    const message = `the ${solver.kind} proof for ${challenge.name} could not be shown: ${reason}`;
    throw failure('ACME_CHALLENGE_FAILED', message, { cause, retryable: true });
  } finally {
    timer.cancel();
  }
}

function choose(
  { authority, solvers }: OrderDeps,
  { failures }: OrderJob,
  { challenges, identifier, wildcard }: Authorization,
): { readonly solver: ChallengeSolver; readonly offered: Authorization['challenges'][number] } {
  const usable = solvers.flatMap((solver) => {
    const offered = challenges.find(({ type }) => type === solver.kind);
    return offered && solver.solves(identifier.value.toLowerCase(), wildcard === true) ? [{ solver, offered }] : [];
  });
  const chosen = usable[failures % Math.max(1, usable.length)];
  if (chosen) return chosen;
  const kinds = challenges.map(({ type }) => type.slice(0, 30)).join(', ');
  const name = wildcard === true ? `*.${identifier.value}` : identifier.value;
  throw failure('ACME_NO_CHALLENGE', `${authority.host} offers ${kinds} for ${name}, none of which can be given here`);
}

/** In the authority's own words, which are about what it saw. */
function notSeen({ authority }: OrderDeps, { identifier, challenges }: Authorization): Error {
  const failed = challenges.find(({ error }) => error !== undefined && error !== null);
  const problem = problemOf(failed?.error);
  const kind = failed?.type ?? 'its';
  const words = problem?.detail ?? 'it gave no reason';
  if (problem?.type === PROBLEM.caa) return failure('ACME_CAA', `${authority.host} may not: ${words}`);
  const message = `${authority.host} did not see the ${kind} proof for ${identifier.value}: ${words}`;
  return failure('ACME_CHALLENGE_FAILED', message, { retryable: true });
}

async function finish(deps: OrderDeps, record: OrderRecord, certificate: string): Promise<CertificateRecord> {
  const { clock, random, store } = deps;
  const { id, names, directory, key } = record;
  const nowMs = clock.now();
  const { notBeforeMs, notAfterMs } = checkChain(certificate, { names, key, nowMs });
  const obtained: CertificateRecord = {
    id,
    names,
    directory,
    certificate,
    key,
    obtainedMs: nowMs,
    notBeforeMs,
    notAfterMs,
    renewAtMs: renewAfterLife({ notBeforeMs, notAfterMs }, random()),
    // At once: the authority may know better.
    askAgainMs: (await renewalIdOf(certificate)) === undefined ? undefined : nowMs,
    explanation: undefined,
  };
  const spent = [{ directory, kind: 'certificate' as const, id, atMs: nowMs }];
  await store.commit({ certificate: obtained, endedOrder: record, healed: id, spent });
  return obtained;
}

/** @param look counts from 0 */
function pollMs({ authority }: OrderDeps, body: object, look: number): number {
  return Math.min(MAX_POLL_MS, authority.retryAfterMs(body) ?? FIRST_POLL_MS * 2 ** Math.min(10, look));
}
