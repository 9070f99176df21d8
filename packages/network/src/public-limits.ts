/**
 * How often and how much at once a gateway may ask for under a name whose line says `enforce: member`: counted here, for
 * what this machine gets, whatever the gateway counts. Addresses of clients are what the gateway says; who lies about
 * them is held by the rate of all together and by `concurrency`.
 */
import { RateLimit, addressKey, type OpenRequest, type PeerId, type RequestHead } from '@moat/core';
import type { ContractView, Publication, PublishRules } from '@moat/contract';
import type { NetworkErrorCode } from './errors.ts';

export interface PublicLimitsDeps {
  /** Milliseconds; only differences matter. */
  now(): number;
}

/** A stream from a gateway. */
export interface PublicUse {
  readonly peer: PeerId;
  readonly request: OpenRequest;
  readonly requestHead: RequestHead | undefined;
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
      const known = this.#counted.get(keyOf(line));
      const text = JSON.stringify(rules);
      next.set(keyOf(line), known?.text === text ? known : this.#count(rules, text, known?.load));
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

  /**
   * The publication by the name the client asked for. A gateway that names none of them gets the first that is
   * counted; one that names another line to the same service gets what its publisher gives there.
   */
  #find({ peer, request: { service }, requestHead }: PublicUse): Counted | undefined {
    const leading = (this.#view?.publishedAt(peer) ?? []).filter((publication) => leadsTo(publication, service));
    const host = (requestHead?.authority ?? '').split(':', 1)[0] ?? '';
    const named = leading.find(({ name }) => host === name || (!name.includes('.') && host.startsWith(`${name}.`)));
    const publication = named ?? leading.find(({ rules }) => isHeld(rules));
    return publication && this.#counted.get(keyOf(publication));
  }
}

function isHeld(rules: PublishRules | undefined): boolean {
  return rules?.enforce === 'member';
}

function leadsTo({ service, others = [] }: Publication, wanted: string): boolean {
  return service === wanted || others.some((other) => other.service === wanted);
}

/** A name at its gateway, however often the key of that is replaced. */
function keyOf({ name, salt }: Pick<Publication, 'name' | 'salt'>): string {
  return `${name} ${salt}`;
}
