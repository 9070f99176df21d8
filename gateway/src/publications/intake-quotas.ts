/** What one address may do in an hour with the intake. What is above is refused with its code and drops nothing. */
import type { PublicationBundle } from '@moat/contract';
import type { Clock, MoatError } from '@moat/core';
import type { GatewayLimits } from '../config.ts';
import { refusal, type GatewayErrorCode } from '../errors.ts';
import { costOf } from './bundle-cost.ts';
import { HourlyQuota } from './hourly-quota.ts';

export interface IntakeQuotasDeps {
  readonly clock: Clock;
}

export interface IntakeQuotasOptions {
  /** Asked at each use. */
  readonly limits: Pick<GatewayLimits, 'newDeploymentsPerHour' | 'newNamesPerHour' | 'bundlesPerHour'>;
}

/** Wrong codes from one address in an hour. */
const GUESSES_PER_HOUR = 10;

/** `origin` is whom a connection counts for. */
export class IntakeQuotas {
  readonly #bundles: HourlyQuota;
  readonly #deployments: HourlyQuota;
  readonly #names: HourlyQuota;
  readonly #guesses: HourlyQuota;

  constructor(deps: IntakeQuotasDeps, options: IntakeQuotasOptions) {
    this.#bundles = new HourlyQuota(deps, { perHour: () => options.limits.bundlesPerHour });
    this.#deployments = new HourlyQuota(deps, { perHour: () => options.limits.newDeploymentsPerHour });
    this.#names = new HourlyQuota(deps, { perHour: () => options.limits.newNamesPerHour });
    this.#guesses = new HourlyQuota(deps, { perHour: () => GUESSES_PER_HOUR });
  }

  /** One with many signatures counts as several, see {@link costOf}. @throws `PUBLISH_RATE` */
  takeBundle(origin: string, bundle: PublicationBundle): void {
    refuseFor(this.#bundles.take(origin, costOf(bundle)), 'shows too many publications');
  }

  /** @throws `PUBLISH_RATE` */
  requireDeployment(origin: string): void {
    refuseFor(this.#deployments.waitMs(origin), 'brings too many new deployments');
  }

  /** @throws `PUBLISH_RATE` */
  takeDeployment(origin: string): void {
    refuseFor(this.#deployments.take(origin), 'brings too many new deployments');
  }

  /** Undefined when a name more may be claimed. */
  takeName(origin: string): MoatError<GatewayErrorCode> | undefined {
    const waitMs = this.#names.take(origin);
    return waitMs === 0 ? undefined : tooMuch('PUBLISH_RATE', 'this address claimed too many names in an hour', waitMs);
  }

  /** @throws `CODE_GUESSES` */
  requireGuess(origin: string): void {
    const waitMs = this.#guesses.waitMs(origin);
    if (waitMs > 0) throw tooMuch('CODE_GUESSES', 'too many wrong invite codes came from this address', waitMs);
  }

  takeGuess(origin: string): void {
    this.#guesses.take(origin);
  }
}

function refuseFor(waitMs: number, what: string): void {
  if (waitMs > 0) throw tooMuch('PUBLISH_RATE', `this address ${what}`, waitMs);
}

function tooMuch(code: 'PUBLISH_RATE' | 'CODE_GUESSES', message: string, waitMs: number): MoatError<GatewayErrorCode> {
  const minutes = Math.ceil(waitMs / 60_000);
  return refusal(code, `${message}; again in ${minutes} min`, { retryable: true });
}
