/**
 * Who holds which name. First valid claim wins; a name is leased to its deployment and renewed by live members.
 * The registry proposes changes as records; the caller commits them and then applies them here, so that
 * nothing is used before it is on disk.
 */
import { MAX_HOST_LENGTH, type Heir } from '@moat/contract';
import type { Clock, DeploymentId, MoatError } from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';
import type { NameRecord } from '../store/store.ts';
import { hostOfName, isUnderDomain } from './host.ts';
import { leaseEndMs } from './lease.ts';
import { portOfKey } from './port.ts';
import { skeletonOf, spellingProblem } from './look-alike.ts';
import type { Proof } from './proof-desk.ts';

export interface NameRegistryDeps {
  readonly clock: Clock;
  /** True while a member that serves the host is connected: no lease ends then, whatever clock and disk say. */
  isLive(host: string): boolean;
  /** True where the operator gave the host to the deployment, reserved or not. */
  isGranted(host: string, deployment: DeploymentId): boolean;
  /** To whom its holder gives the host. */
  heirOf(host: string, holder: DeploymentId): Heir | undefined;
  /** Whether a host outside the domain is the deployment's. */
  prove(host: string, deployment: DeploymentId): Proof;
}

export interface NameRegistryOptions {
  readonly domain: string;
  /** Names in all; one more is refused. @defaultValue 200000 */
  readonly maxNames?: number;
  /** First labels that nobody may claim without the operator's word. */
  readonly reserved?: readonly string[];
  /** TCP ports that the operator lets be published. @defaultValue none */
  mayOpen?(port: number): boolean;
}

/** What became of a claim: the record to keep, with what is wrong with it nevertheless, or why not. */
export type ClaimOutcome =
  | { readonly record: NameRecord; readonly warning?: MoatError<GatewayErrorCode> }
  | { readonly error: MoatError<GatewayErrorCode> };

/** What a deployment may still take. */
export interface ClaimLimits {
  /** Names it may hold. */
  readonly names: number;
  /** Asked before each name that is new; an error refuses that name. */
  readonly take?: () => MoatError<GatewayErrorCode> | undefined;
}

const DEFAULT_MAX_NAMES = 200_000;
/** How often a live name's time is written anew. */
const RENEW_MS = 3_600_000;

export class NameRegistry {
  readonly #deps: NameRegistryDeps;
  readonly #options: NameRegistryOptions;
  readonly #names = new Map<string, NameRecord>();
  /** Hosts of each deployment, so that a claim costs what its deployment holds. */
  readonly #hosts = new Map<DeploymentId, Set<string>>();
  /** Hosts below the domain by what they look like. */
  readonly #looks = new Map<string, Set<string>>();
  #reserved: ReadonlySet<string>;
  readonly #startedMs: number;

  /** `records` are what the store knew at start. */
  constructor(deps: NameRegistryDeps, options: NameRegistryOptions, records: readonly NameRecord[]) {
    this.#deps = deps;
    this.#options = options;
    this.#startedMs = deps.clock.now();
    this.#reserved = new Set((options.reserved ?? []).map(skeletonOf));
    this.apply(records);
  }

  /** First labels that nobody may claim from now on without the operator's word; whoever holds one keeps it. */
  reserve(labels: readonly string[]): void {
    this.#reserved = new Set(labels.map(skeletonOf));
  }

  /** Whether what stands under this key may be served now: of a port, whether the operator lets it be published. */
  mayServe(key: string): boolean {
    const port = portOfKey(key);
    return port === undefined || this.#options.mayOpen?.(port) === true;
  }

  get(host: string): NameRecord | undefined {
    const record = this.#names.get(host);
    return record && this.#isHeld(record) ? record : undefined;
  }

  list(): NameRecord[] {
    return [...this.#names.values()].filter((record) => this.#isHeld(record));
  }

  /** End of the lease when no member is connected from now on, in milliseconds since the epoch. */
  leaseEndMs(record: NameRecord): number {
    return leaseEndMs(record, this.#startedMs);
  }

  /** Judges several names of one deployment, so that its limit counts them together. */
  claim(deployment: DeploymentId, names: readonly string[], limits: ClaimLimits): Map<string, ClaimOutcome> {
    const outcomes = new Map<string, ClaimOutcome>();
    let held = this.heldBy(deployment);
    let all = this.#names.size;
    for (const name of names) {
      const outcome = this.#claimOne(deployment, name, { ...limits, held, all });
      if ('record' in outcome) {
        const before = this.get(outcome.record.host);
        if (before?.deployment !== deployment) held += 1;
        if (before === undefined) all += 1;
      }
      outcomes.set(name, outcome);
    }
    return outcomes;
  }

  /** How many names the deployment holds, published or not. */
  heldBy(deployment: DeploymentId): number {
    let held = 0;
    for (const host of this.#hosts.get(deployment) ?? []) if (this.get(host) !== undefined) held += 1;
    return held;
  }

  /** The same for everybody who holds any, for whoever asks about many. */
  heldByEach(): ReadonlyMap<DeploymentId, number> {
    const held = new Map<DeploymentId, number>();
    for (const { deployment } of this.list()) held.set(deployment, (held.get(deployment) ?? 0) + 1);
    return held;
  }

  /** Takes over records that are on disk now. */
  apply(records: readonly NameRecord[], releasedHosts: readonly string[] = []): void {
    for (const host of releasedHosts) this.#remove(host);
    for (const record of records) {
      const { host, deployment } = record;
      if (this.#names.get(host)?.deployment !== deployment) {
        this.#remove(host);
        const hosts = this.#hosts.get(deployment) ?? new Set();
        this.#hosts.set(deployment, hosts.add(host));
        this.#note(host);
      }
      this.#names.set(host, record);
    }
  }

  /** Names whose lease is over. */
  expired(): NameRecord[] {
    return [...this.#names.values()].filter((record) => !this.#isHeld(record));
  }

  /** Live names whose time should be written anew. */
  renewals(everyMs: number = RENEW_MS): NameRecord[] {
    const now = this.#deps.clock.now();
    return [...this.#names.values()]
      .filter(({ host, lastLiveMs }) => lastLiveMs + everyMs <= now && this.#deps.isLive(host))
      .map((record) => ({ ...record, lastLiveMs: now }));
  }

  #claimOne(
    deployment: DeploymentId,
    name: string,
    limits: ClaimLimits & { readonly held: number; readonly all: number },
  ): ClaimOutcome {
    const { domain } = this.#options;
    const port = portOfKey(name);
    if (port !== undefined) return this.#claimPort({ host: name, deployment }, port, limits);
    const host = hostOfName(name, domain);
    if (host === undefined || host === domain) return invalid(name);
    const now = this.#deps.clock.now();
    const current = this.get(host);
    const isOwn = current?.deployment === deployment;
    if (isUnderDomain(host, domain)) {
      if (isOwn) return { record: { ...current, lastLiveMs: now } };
      const isHeir = current !== undefined && this.#deps.heirOf(host, current.deployment) === deployment;
      if (current && !isHeir) return { error: this.#heldByAnother(current) };
      const error = isHeir || this.#isGranted(host, deployment) ? undefined : this.#whyNot(host, deployment);
      return error === undefined ? this.#new({ host, deployment }, limits) : { error };
    }
    // One label more than we serve is a mistake.
    if (host.endsWith(`.${domain}`) || host.length > MAX_HOST_LENGTH) return invalid(name);
    // What was proven stays so until a look at it says otherwise.
    if (isOwn && current.proof?.failingMs === null) return { record: { ...current, lastLiveMs: now } };
    const problem = host
      .split('.')
      .map(spellingProblem)
      .find((each) => each !== undefined);
    if (problem === 'malformed') return invalid(name);
    if (problem === 'mixed' && !this.#isGranted(host, deployment)) return { error: looksLike(host, 'another name') };
    const proof = this.#deps.prove(host, deployment);
    if (proof.kind === 'refused') {
      // It is served as long as the keeper of proofs lets it.
      return isOwn ? { record: { ...current, lastLiveMs: now }, warning: proof.error } : { error: proof.error };
    }
    // Two may have a record; who was there first stays. Without a record nobody does.
    if (current && !isOwn && proof.others.has(current.deployment)) return { error: this.#heldByAnother(current) };
    const proven = { provenMs: now, failingMs: null };
    if (isOwn) return { record: { ...current, lastLiveMs: now, proof: proven } };
    return this.#new({ host, deployment, proof: proven }, limits);
  }

  #claimPort(
    name: Pick<NameRecord, 'host' | 'deployment'>,
    port: number,
    limits: ClaimLimits & { readonly held: number; readonly all: number },
  ): ClaimOutcome {
    if (!this.mayServe(name.host)) {
      const message = `this gateway opens no port ${port}; ask its operator which it does`;
      return { error: refusal('PORT_NOT_ALLOWED', message, { details: { port } }) };
    }
    const current = this.get(name.host);
    if (current === undefined) return this.#new(name, limits);
    if (current.deployment === name.deployment) return { record: { ...current, lastLiveMs: this.#deps.clock.now() } };
    const { deployment } = current;
    const free = dayOf(this.leaseEndMs(current));
    const message = `port ${port} is held by deployment ${deployment}; it is free on ${free} if none of its members comes until then`;
    return { error: refusal('PORT_HELD', message, { details: { port, deployment, free } }) };
  }

  /** Why nobody gets a name below the domain that nobody holds. */
  #whyNot(host: string, deployment: DeploymentId): MoatError<GatewayErrorCode> | undefined {
    const label = host.slice(0, -this.#options.domain.length - 1);
    const problem = spellingProblem(label);
    if (problem === 'malformed') return invalid(label).error;
    const look = skeletonOf(label);
    if (this.#reserved.has(look)) {
      const message = `${label} is reserved at this gateway; ${grantLine(host, deployment)}`;
      return refusal('NAME_RESERVED', message, { details: { host } });
    }
    if (problem === 'mixed') return looksLike(host, 'another name', deployment);
    for (const other of this.#looks.get(look) ?? []) {
      const holder = this.get(other);
      if (holder !== undefined && holder.deployment !== deployment) return looksLike(host, other, deployment);
    }
    return undefined;
  }

  #isGranted(host: string, deployment: DeploymentId): boolean {
    return this.#deps.isGranted(host, deployment);
  }

  #new(
    name: Pick<NameRecord, 'host' | 'deployment' | 'proof'>,
    limits: ClaimLimits & { readonly held: number; readonly all: number },
  ): ClaimOutcome {
    const now = this.#deps.clock.now();
    const { names: limit, held, all, take } = limits;
    if (held >= limit) {
      return {
        error: refusal('NAME_LIMIT', `the deployment holds its limit of ${limit} names`, { details: { limit } }),
      };
    }
    if (all >= (this.#options.maxNames ?? DEFAULT_MAX_NAMES)) {
      return { error: refusal('GATEWAY_BUSY', 'this gateway holds as many names as it may', { retryable: true }) };
    }
    const error = take?.();
    return error === undefined ? { record: { ...name, claimedAtMs: now, lastLiveMs: now, served: false } } : { error };
  }

  #heldByAnother(current: NameRecord): MoatError<GatewayErrorCode> {
    const { host, deployment } = current;
    const since = dayOf(current.claimedAtMs);
    const free = dayOf(this.leaseEndMs(current));
    const message = `the name is held by deployment ${deployment} since ${since}; it is free on ${free} if none of its members comes until then`;
    return refusal('NAME_HELD', message, { details: { host, deployment, since, free } });
  }

  #note(host: string): void {
    const look = this.#lookOf(host);
    if (look !== undefined) this.#looks.set(look, (this.#looks.get(look) ?? new Set()).add(host));
  }

  #lookOf(host: string): string | undefined {
    const { domain } = this.#options;
    return isUnderDomain(host, domain) ? skeletonOf(host.slice(0, -domain.length - 1)) : undefined;
  }

  #remove(host: string): void {
    const record = this.#names.get(host);
    if (record === undefined) return;
    this.#names.delete(host);
    const look = this.#lookOf(host);
    const alike = look === undefined ? undefined : this.#looks.get(look);
    alike?.delete(host);
    if (look !== undefined && alike?.size === 0) this.#looks.delete(look);
    const hosts = this.#hosts.get(record.deployment);
    hosts?.delete(host);
    if (hosts?.size === 0) this.#hosts.delete(record.deployment);
  }

  #isHeld(record: NameRecord): boolean {
    return this.#deps.clock.now() < leaseEndMs(record, this.#startedMs) || this.#deps.isLive(record.host);
  }
}

function looksLike(host: string, other: string, deployment?: DeploymentId): MoatError<GatewayErrorCode> {
  const way = grantLine(host, deployment ?? 'DEPLOYMENT-ID');
  return refusal('NAME_LOOKALIKE', `${host} looks like ${other}; ${way}`, { details: { host, other } });
}

function grantLine(host: string, deployment: DeploymentId): string {
  return `its operator can give it to you: moat gateway names allow ${host} --to ${deployment}`;
}

function invalid(name: string): { readonly error: MoatError<GatewayErrorCode> } {
  return {
    error: refusal('NAME_INVALID', `${JSON.stringify(name.slice(0, 80))} is not a name this gateway can serve`),
  };
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}
