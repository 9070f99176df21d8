/**
 * gateway.yaml read anew while the gateway runs. It is judged whole first: one that cannot be used changes nothing. Then
 * what can change in place changes, all of it in one turn, and the rest is named: it waits for a restart.
 */
import { errorCode, type Clock, type Logger } from '@moat/core';
import type { AuditRecorder } from './audit/audit-log.ts';
import type { GatewayConfig, Publishers } from './config.ts';

export interface ReloaderDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly audit: AuditRecorder;
  /** @throws `GATEWAY_CONFIG_INVALID` */
  read(): Promise<GatewayConfig>;
  /** Puts what can change in place into force; throws before it changed anything. */
  apply(next: GatewayConfig): Promise<void>;
  /** The new configuration is the one in force. @param keys that differ from before, dotted */
  changed(keys: readonly string[]): void;
}

export interface ReloadResult {
  /** Keys that are in force now, dotted: `limits.requestsPerSecond`. */
  readonly changed: readonly string[];
  /** Keys that differ and need a restart. */
  readonly needsRestart: readonly string[];
}

/** Keys of a configuration that change in place. Sockets, keys, and what the store is bound to do not. */
const IN_PLACE = [
  'publishers',
  'limits',
  'abuse',
  'accessLog',
  'audit',
  'tls.files',
  'tls.acme',
  'interstitial',
  'tcpPorts',
  'names.reserved',
  'dns',
] as const;

export class Reloader {
  readonly #deps: ReloaderDeps;
  #current: GatewayConfig;
  #last: Promise<unknown> = Promise.resolve();
  #needsRestart: readonly string[] = [];
  #count = 0;
  #succeeded = true;
  #atMs: number;

  constructor(deps: ReloaderDeps, config: GatewayConfig) {
    this.#deps = deps;
    this.#current = config;
    this.#atMs = deps.clock.now();
  }

  /** What is in force. */
  get config(): GatewayConfig {
    return this.#current;
  }

  get publishers(): Publishers {
    return this.#current.publishers;
  }

  get namesPerDeployment(): number {
    return this.#current.limits.namesPerDeployment;
  }

  /** Keys that differed in the file when it was last read, and that a restart would take over. */
  get needsRestart(): readonly string[] {
    return this.#needsRestart;
  }

  get figures(): { readonly count: number; readonly succeeded: boolean; readonly atMs: number } {
    return { count: this.#count, succeeded: this.#succeeded, atMs: this.#atMs };
  }

  /** One after the other. @throws `GATEWAY_CONFIG_INVALID` with every problem; everything stays as it was then */
  reload(): Promise<ReloadResult> {
    const next = this.#last.then(() => this.#reload());
    this.#last = next.catch(() => undefined);
    return next;
  }

  async #reload(): Promise<ReloadResult> {
    const { audit, clock, logger } = this.#deps;
    this.#count += 1;
    try {
      const file = await this.#deps.read();
      const differs = differences(this.#current, file).map(asWritten);
      const isInPlace = (key: string): boolean => IN_PLACE.some((each) => key === each || key.startsWith(`${each}.`));
      const [changed, needsRestart] = [differs.filter(isInPlace), differs.filter((key) => !isInPlace(key))];
      const { publishers, limits, abuse, accessLog, audit: kept, interstitial, tcpPorts, reservedNames, dns } = file;
      // The authority of this machine is part of its addresses: it neither begins nor ends in place.
      const tls = file.tls === 'local' || this.#current.tls === 'local' ? this.#current.tls : file.tls;
      const names = { interstitial, tcpPorts, reservedNames, dns };
      const config = { ...this.#current, publishers, limits, abuse, accessLog, audit: kept, tls, ...names };
      await this.#deps.apply(config);
      this.#current = config;
      this.#deps.changed(changed);
      this.#needsRestart = needsRestart;
      this.#succeeded = true;
      this.#atMs = clock.now();
      logger.info({ component: 'gateway', reason: changed.join(' ') }, 'configuration read anew');
      const details = { changed: changed.join(' '), needsRestart: needsRestart.join(' ') };
      audit.record({ action: 'config.reloaded', actor: 'operator', details });
      return { changed, needsRestart };
    } catch (err) {
      this.#succeeded = false;
      logger.error({ component: 'gateway', err, code: errorCode(err) }, 'configuration not taken over');
      audit.record({ action: 'config.refused', actor: 'operator', details: { code: errorCode(err) } });
      throw err;
    }
  }
}

/** As gateway.yaml says it. */
function asWritten(key: string): string {
  if (key === 'reservedNames') return 'names.reserved';
  return key.replace(/^dns\.server(?=\.|$)/, 'dns');
}

/** Dotted keys under which two configurations differ; a list is one value. */
export function differences(before: object, after: object, prefix: string = ''): string[] {
  const [a, b] = [plainOf(before), plainOf(after)];
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) => {
    const [one, other] = [a[key], b[key]];
    if (isPlain(one) && isPlain(other)) return differences(one, other, `${prefix}${key}.`);
    return JSON.stringify(one) === JSON.stringify(other) ? [] : [`${prefix}${key}`];
  });
}

function plainOf(value: object): Record<string, unknown> {
  return (value instanceof Map ? Object.fromEntries(value) : value) as Record<string, unknown>;
}

function isPlain(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
