/**
 * How often and how much at once a gateway may ask for under a name whose line says `enforce: member`: counted here, for
 * what this machine gets, whatever the gateway counts. Addresses of clients are what the gateway says; who lies about
 * them is held by the rate of all together and by `concurrency`.
 */
import { RateLimit, addressKey } from '@moat/core';
import type { ContractView, PublishRules } from '@moat/contract';
import type { NetworkErrorCode } from './errors.ts';
import { lineKey, publishedLine, type PublicUse } from './published-line.ts';

export interface PublicLimitsDeps {
  /** Milliseconds; only differences matter. */
  now(): number;
}

/** What is counted under one name; it stays while its rules are written the same. */
interface Counted {
  readonly text: string;
  readonly concurrency: number;
  readonly each: RateLimit | undefined;
  readonly all: RateLimit | undefined;
  /** The same for all versions of a line: what began under one ends under another. */
  readonly load: { running: number };
}

const NOT_COUNTED = (): void => undefined;

/** Bound: the publications of the contract; 100,000 clients of each. */
export class PublicLimits {
  readonly #deps: PublicLimitsDeps;
  #counted: ReadonlyMap<string, Counted> = new Map();
  #view: ContractView | undefined;

  constructor(deps: PublicLimitsDeps) {
    this.#deps = deps;
  }

  /** What counted stays counted: a new version gives nobody a new allowance. */
  update(view: ContractView): void {
    const next = new Map<string, Counted>();
    for (const line of view.contract.publish) {
      const { rules } = line;
      if (rules === undefined || !isHeld(rules)) continue;
      const known = this.#counted.get(lineKey(line));
      const text = JSON.stringify(rules);
      next.set(lineKey(line), known?.text === text ? known : this.#count(rules, text, known?.load));
    }
    this.#counted = next;
    this.#view = view;
  }

  /** Counts a stream in and gives the way to count it out, to be called once; or says why it may not come. */
  enter(use: PublicUse): NetworkErrorCode | (() => void) {
    if (this.#counted.size === 0) return NOT_COUNTED;
    const counted = this.#find(use);
    if (counted === undefined) return NOT_COUNTED;
    const { load } = counted;
    if (load.running >= counted.concurrency) return 'PUBLIC_BUSY';
    const address = use.requestHead?.fields.find(([name]) => name === 'x-real-ip')?.[1] ?? '';
    if ((counted.each?.take(addressKey(address)) ?? 0) > 0) return 'PUBLIC_RATE';
    if ((counted.all?.take('') ?? 0) > 0) return 'PUBLIC_RATE';
    load.running += 1;
    return () => {
      load.running -= 1;
    };
  }

  #count({ rate, concurrency = Infinity }: PublishRules, text: string, load = { running: 0 }): Counted {
    const each = rate?.each && new RateLimit(this.#deps, rate.each);
    const all = rate?.all && new RateLimit(this.#deps, rate.all);
    return { text, concurrency, each, all, load };
  }

  #find(use: PublicUse): Counted | undefined {
    const publication = this.#view && publishedLine(this.#view, use, ({ rules }) => isHeld(rules));
    return publication && this.#counted.get(lineKey(publication));
  }
}

function isHeld(rules: PublishRules | undefined): boolean {
  return rules?.enforce === 'member';
}
