/**
 * What the DNS said lately about hosts outside the domain. A claim asks {@link ProofDesk.judge}, which answers at once
 * from what is known and has the rest looked up; whoever claims again a moment later finds it.
 *
 * Bounds: {@link MAX_ANSWERS} hosts remembered, the longest unused is forgotten; {@link MAX_LOOKUPS} lookups at a time, of one
 * deployment {@link MAX_LOOKUPS_OF_ONE} and {@link MAX_LOOKUPS_PER_HOUR} an hour, beyond which nothing is asked; {@link LOOKUP_MS} for one. What was not
 * found is not asked for again within {@link AGAIN_MS}; how often claims come is the members' to choose, and bounded there.
 */
import { proofRecord, provenBy } from '@moat/contract';
import { RateLimit, errorCode, type Clock, type DeploymentId, type Logger, type MoatError } from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';
import type { TextLookup } from './text-lookup.ts';

export interface ProofDeskDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly lookup: TextLookup;
}

/** What the DNS says about a host. `others` are deployments that have a record there. */
export type Proof =
  | { readonly kind: 'proven'; readonly others: ReadonlySet<DeploymentId> }
  | { readonly kind: 'refused'; readonly error: MoatError<GatewayErrorCode> };

const MAX_ANSWERS = 10_000;
const MAX_LOOKUPS = 128;
const MAX_LOOKUPS_OF_ONE = 8;
const MAX_LOOKUPS_PER_HOUR = 240;
const HOUR_MS = 3_600_000;
const LOOKUP_MS = 4_000;
/** How long a proof that was found may be claimed by, without another look. */
const FRESH_MS = 60_000;
const AGAIN_MS = 5_000;
/** How long one who claims is kept waiting for the first answer. */
const WAIT_MS = 1_500;
const MAX_WAITING = 16;

/** `deployments` undefined: no record is there; with `failed`, nobody said whether one is. */
interface Answer {
  readonly deployments: ReadonlySet<DeploymentId> | undefined;
  readonly failed: boolean;
  readonly atMs: number;
}

export class ProofDesk {
  readonly #deps: ProofDeskDeps;
  readonly #perDeployment: RateLimit;
  /** In order of use. */
  readonly #answers = new Map<string, Answer>();
  readonly #running = new Map<string, Promise<void>>();
  readonly #runningOf = new Map<DeploymentId, number>();
  /** Lookups that a deployment began and did not wait for yet. */
  readonly #begun = new Map<DeploymentId, Promise<void>[]>();
  #waiting = 0;

  constructor(deps: ProofDeskDeps) {
    this.#deps = deps;
    this.#perDeployment = new RateLimit(deps.clock, { count: MAX_LOOKUPS_PER_HOUR, perMs: HOUR_MS, maxKeys: 10_000 });
  }

  /** What is known now; what is not is being looked up when this returns, where that may be. */
  judge(host: string, deployment: DeploymentId): Proof {
    const answer = this.#answers.get(host);
    if (answer !== undefined && this.#isFresh(answer, deployment)) return judged(host, deployment, answer);
    const isBegun = this.#begin(host, deployment);
    // What was not there may be told again; what was there may be gone.
    const old = answer && judged(host, deployment, answer);
    if (!isBegun && old?.kind === 'refused') return old;
    const { name } = proofRecord(host, deployment);
    const message = isBegun ? `the record ${name} is being looked up` : `too many records are being looked up`;
    return { kind: 'refused', error: refusal('PROOF_UNCHECKED', message, { details: { host }, retryable: true }) };
  }

  /** Waits for what {@link judge} began for `deployment`, not for long. True when something of it is known now. */
  async settled(deployment: DeploymentId): Promise<boolean> {
    const begun = this.#begun.get(deployment);
    this.#begun.delete(deployment);
    if (begun === undefined || this.#waiting >= MAX_WAITING) return false;
    this.#waiting += 1;
    try {
      return await new Promise<boolean>((resolve) => {
        const late = this.#deps.clock.after(WAIT_MS, () => resolve(false));
        void Promise.all(begun).then(() => {
          late.cancel();
          resolve(true);
        });
      });
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Asks now, whatever is known; undefined when nobody answered. Never rejects. */
  async ask(host: string): Promise<ReadonlySet<DeploymentId> | undefined> {
    await (this.#running.get(host) ?? this.#look(host));
    const answer = this.#answers.get(host);
    return answer === undefined || answer.failed ? undefined : (answer.deployments ?? new Set());
  }

  #isFresh({ deployments, atMs }: Answer, deployment: DeploymentId): boolean {
    const ageMs = this.#deps.clock.now() - atMs;
    return ageMs < (deployments?.has(deployment) === true ? FRESH_MS : AGAIN_MS);
  }

  #begin(host: string, deployment: DeploymentId): boolean {
    let running = this.#running.get(host);
    if (running === undefined) {
      const own = this.#runningOf.get(deployment) ?? 0;
      if (own >= MAX_LOOKUPS_OF_ONE || this.#running.size >= MAX_LOOKUPS) return false;
      if (this.#perDeployment.take(deployment) > 0) return false;
      this.#runningOf.set(deployment, own + 1);
      running = this.#look(host).finally(() => this.#ended(deployment));
    }
    const begun = this.#begun.get(deployment) ?? [];
    begun.push(running);
    this.#begun.set(deployment, begun);
    return true;
  }

  #ended(deployment: DeploymentId): void {
    const left = (this.#runningOf.get(deployment) ?? 1) - 1;
    if (left > 0) this.#runningOf.set(deployment, left);
    else this.#runningOf.delete(deployment);
  }

  #look(host: string): Promise<void> {
    const { lookup, logger } = this.#deps;
    const { name } = proofRecord(host, '');
    const looking = lookup(name, AbortSignal.timeout(LOOKUP_MS)).then(
      (texts) => this.#keep(host, provenBy(texts), false),
      (err: unknown) => {
        logger.debug({ component: 'gateway.names', host, code: errorCode(err), err }, 'proof not looked up');
        this.#keep(host, undefined, true);
      },
    );
    const running = looking.finally(() => this.#running.delete(host));
    this.#running.set(host, running);
    return running;
  }

  #keep(host: string, deployments: ReadonlySet<DeploymentId> | undefined, failed: boolean): void {
    this.#answers.delete(host);
    this.#answers.set(host, { deployments, failed, atMs: this.#deps.clock.now() });
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > MAX_ANSWERS && oldest !== undefined) this.#answers.delete(oldest);
  }
}

function judged(host: string, deployment: DeploymentId, { deployments, failed }: Answer): Proof {
  if (deployments?.has(deployment) === true) return { kind: 'proven', others: deployments };
  const { name, value } = proofRecord(host, deployment);
  const record = `${name}. TXT "${value}"`;
  const details = { host, record: name, value };
  if (failed) {
    const message = `no name server said whether this record is there: ${record}`;
    return { kind: 'refused', error: refusal('PROOF_UNCHECKED', message, { details, retryable: true }) };
  }
  if (deployments === undefined) {
    const message = `the DNS does not say yet that this host is yours; create this record: ${record}`;
    return { kind: 'refused', error: refusal('PROOF_MISSING', message, { details, retryable: true }) };
  }
  const others = [...deployments].slice(0, 3).join(', ') || 'no deployment';
  const message = `the DNS says that this host is for ${others}; create this record: ${record}`;
  return { kind: 'refused', error: refusal('PROOF_WRONG', message, { details, retryable: true }) };
}
