/**
 * The rules of one public name, ready for its requests, with what they count. They outlive the route as long as what is
 * written stays the same: a new version of the contract gives nobody a new allowance.
 */
import { RateLimit, addressKey, type FieldList, type PeerId } from '@moat/core';
import type { PublishRules } from '@moat/contract';
import { refusal } from '../errors.ts';
import { compileAddressRule } from './address-rule.ts';
import { Breaker } from './breaker.ts';
import { compileDestinations, type Destination } from './destinations.ts';
import { compileHeaderChanges } from './header-changes.ts';

export interface NameRulesDeps {
  /** Milliseconds; only differences matter. */
  now(): number;
}

type ChangeFields = (fields: FieldList) => FieldList;

const same: ChangeFields = (fields) => fields;

export class NameRules {
  readonly written: PublishRules;
  readonly changeRequest: ChangeFields;
  readonly changeResponse: ChangeFields;
  /** Which of the name's services a request is for. */
  readonly destinationOf: (target: string, address: string) => Destination;
  readonly #deps: NameRulesDeps;
  /** By service: a member that fails at one may be well at another. */
  readonly #breakers = new Map<string, Breaker<PeerId>>();
  readonly #mayCome: ((address: string) => boolean) | undefined;
  readonly #each: RateLimit | undefined;
  readonly #all: RateLimit | undefined;
  readonly #text: string;
  #running = 0;

  constructor(deps: NameRulesDeps, written: PublishRules) {
    const { rate, from, headers } = written;
    this.#deps = deps;
    this.written = written;
    this.#text = JSON.stringify(written);
    this.changeRequest = headers?.request === undefined ? same : compileHeaderChanges(headers.request);
    this.changeResponse = headers?.response === undefined ? same : compileHeaderChanges(headers.response);
    this.destinationOf = compileDestinations(written);
    this.#mayCome = from && compileAddressRule(from);
    this.#each = rate?.each && new RateLimit(deps, rate.each);
    this.#all = rate?.all && new RateLimit(deps, rate.all);
  }

  /** True when these are the rules of `written`. */
  are(written: PublishRules): boolean {
    return JSON.stringify(written) === this.#text;
  }

  /** Who rests among the members of a service; undefined where nobody ever does. */
  breakerOf(service: string): Breaker<PeerId> | undefined {
    const { breaker: options } = this.written;
    if (options === undefined) return undefined;
    let breaker = this.#breakers.get(service);
    if (breaker === undefined) this.#breakers.set(service, (breaker = new Breaker(this.#deps, options)));
    return breaker;
  }

  /** These are the members of the service now. */
  retain(service: string, members: readonly PeerId[]): void {
    this.#breakers.get(service)?.retain(members);
  }

  /**
   * Lets a request in, or not. Each that is let in is followed by one {@link NameRules.leave}.
   * @throws `ADDRESS_REFUSED`, `RATE_LIMITED`, `NAME_BUSY`
   */
  enter(address: string): void {
    if (this.#mayCome?.(address) === false) throw refusal('ADDRESS_REFUSED', 'this name is not open to your address');
    const { concurrency } = this.written;
    if (concurrency !== undefined && this.#running >= concurrency) {
      throw refusal('NAME_BUSY', 'this name has too much to do', { retryable: true });
    }
    // Whoever alone sends too much takes nothing from the others.
    const waitMs = this.#each?.take(addressKey(address)) || this.#all?.take('');
    if (waitMs !== undefined && waitMs > 0) {
      const details = { retryAfterMs: waitMs };
      throw refusal('RATE_LIMITED', 'too many requests for this name', { retryable: true, details });
    }
    this.#running += 1;
  }

  /** @throws `NAME_CLOSED` under maintenance */
  requireOpen(): void {
    const { maintenance } = this.written;
    if (maintenance === undefined) return;
    const { message = 'this name is closed for maintenance', retryAfterMs } = maintenance;
    const details = retryAfterMs === undefined ? {} : { retryAfterMs };
    // The page ends the sentence.
    throw refusal('NAME_CLOSED', message.replace(/\.$/, ''), { retryable: true, details });
  }

  leave(): void {
    this.#running -= 1;
  }
}
