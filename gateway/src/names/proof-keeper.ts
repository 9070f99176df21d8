/**
 * Looks at proofs again while their hosts are served: about once a day each, at times that spread. A record that is gone
 * or names another deployment is looked at every hour from then on, and {@link GRACE_MS} later the host is nobody's.
 * Name servers that do not answer prove nothing: only after {@link SILENCE_MS} without any answer a host is given up.
 * Bounds: one look at a time, {@link PER_ROUND} in a round, a round a minute: 28,800 hosts a day.
 */
import { proofRecord } from '@moat/contract';
import type { Clock, DeploymentId, Logger, Service, Timer } from '@moat/core';
import { refusal } from '../errors.ts';
import type { NameRecord } from '../store/store.ts';
import type { ProofDesk } from './proof-desk.ts';

export interface ProofKeeperDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly desk: Pick<ProofDesk, 'ask'>;
  readonly random: () => number;
  /** Every name held here. */
  names(): readonly NameRecord[];
  /** Keeps a record whose proof was looked at. `isNews`: its publisher is to hear of it. */
  keep(record: NameRecord, isNews: boolean): void;
  /** The host is nobody's from now on. */
  lapse(record: NameRecord, error: ReturnType<typeof refusal>): void;
}

const ROUND_MS = 60_000;
const PER_ROUND = 20;
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** After a record was first found missing. */
export const GRACE_MS: number = DAY_MS;
/** After a record was last seen. */
export const SILENCE_MS: number = 8 * DAY_MS;

export class ProofKeeper implements Service {
  readonly #deps: ProofKeeperDeps;
  /** When each host is looked at next; of those that are not here it follows from their record. */
  readonly #next = new Map<string, number>();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(deps: ProofKeeperDeps) {
    this.#deps = deps;
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    this.#later();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Looks at what is due. */
  async round(): Promise<void> {
    const { clock } = this.#deps;
    const proven = this.#deps.names().filter(({ proof }) => proof !== undefined);
    const hosts = new Set(proven.map(({ host }) => host));
    for (const host of this.#next.keys()) if (!hosts.has(host)) this.#next.delete(host);
    const due = proven.filter((record) => this.#nextMs(record) <= clock.now()).slice(0, PER_ROUND);
    for (const record of due) {
      if (this.#stopped) return;
      await this.#look(record);
    }
  }

  #later(): void {
    if (this.#stopped) return;
    this.#timer = this.#deps.clock.after(ROUND_MS, () => void this.round().finally(() => this.#later()));
  }

  /** Between 18 and 30 hours after it was last seen; those that are overdue, as after a long stop, within an hour. */
  #nextMs({ host, proof }: NameRecord): number {
    const known = this.#next.get(host);
    if (known !== undefined) return known;
    const { clock } = this.#deps;
    const random = (): number => this.#deps.random();
    const regular = (proof?.provenMs ?? 0) + DAY_MS * (0.75 + random() / 2);
    const nextMs = proof?.failingMs === null ? Math.max(regular, clock.now() + HOUR_MS * random()) : clock.now();
    this.#next.set(host, nextMs);
    return nextMs;
  }

  async #look(record: NameRecord): Promise<void> {
    const { clock, desk } = this.#deps;
    const { host, deployment } = record;
    const found = await desk.ask(host);
    // While it was looked up the host may have become somebody else's, or nobody's.
    const current = this.#deps.names().find((name) => name.host === host);
    if (current?.proof === undefined || current.deployment !== deployment) return;
    const now = clock.now();
    const { provenMs, failingMs } = current.proof;
    if (found?.has(deployment) === true) {
      this.#next.set(host, now + DAY_MS * (0.75 + this.#deps.random() / 2));
      return this.#deps.keep({ ...current, proof: { provenMs: now, failingMs: null } }, failingMs !== null);
    }
    this.#next.set(host, now + HOUR_MS);
    const endMs = found === undefined ? provenMs + SILENCE_MS : (failingMs ?? now) + GRACE_MS;
    if (now >= endMs) return this.#end(current, found);
    if (found !== undefined && failingMs === null) {
      this.#deps.keep({ ...current, proof: { provenMs, failingMs: now } }, true);
    }
  }

  #end(record: NameRecord, found: ReadonlySet<DeploymentId> | undefined): void {
    const { host, deployment } = record;
    this.#next.delete(host);
    const code = found === undefined ? 'PROOF_UNCHECKED' : found.size === 0 ? 'PROOF_MISSING' : 'PROOF_WRONG';
    const message = `the record ${proofRecord(host, deployment).name} does not prove ${host} any more`;
    const error = refusal(code, message, { details: { host, deployment } });
    this.#deps.logger.warn({ component: 'gateway.names', host, deployment, code }, 'proof of a host is over');
    this.#deps.lapse(record, error);
  }
}
