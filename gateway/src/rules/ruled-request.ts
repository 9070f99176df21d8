/** What the rules of its name ask of one request, once it was let in. */
import type { FieldList, PeerId, RequestHead } from '@moat/core';
import { refusal } from '../errors.ts';
import type { Route } from '../routes/snapshot.ts';
import type { Breaker } from './breaker.ts';
import { Compressor, chooseCoding, type Coding, type CompressibleAnswer } from './compression.ts';
import type { NameRules } from './name-rules.ts';
import { withoutMark, type StickyMarks } from './sticky.ts';

export interface RuledRequestDeps {
  readonly marks: StickyMarks;
}

/** What of a request its rules look at. */
export interface RuledWork {
  /** The name's own route. */
  readonly found: Route;
  readonly rules: NameRules;
  /** Origin form, or `*`. */
  readonly target: string;
  readonly fields: FieldList;
  /** Bytes announced. */
  readonly contentLength: number | undefined;
  /** The client's. */
  readonly address: string;
}

/** Answers of a service that say that it cannot: they count as failures of its member. */
const UNABLE: ReadonlySet<number> = new Set([502, 503, 504]);

export class RuledRequest {
  /** Where it goes: the name's route, or that of another of its services. */
  readonly route: Route;
  readonly breaker: Breaker<PeerId> | undefined;
  /** The member that the client stays with, while it is well. */
  readonly preferred: PeerId | undefined;
  readonly #deps: RuledRequestDeps;
  readonly #work: RuledWork;
  readonly #target: string;

  /** @throws `BODY_TOO_LARGE` by the length announced */
  constructor(deps: RuledRequestDeps, work: RuledWork) {
    const { found, rules, target, address, contentLength } = work;
    this.#deps = deps;
    this.#work = work;
    if (contentLength !== undefined && contentLength > (this.maxBodyBytes ?? Infinity)) throw this.tooLarge();
    const destination = rules.destinationOf(target, address);
    this.#target = destination.target;
    this.route = (destination.service === undefined ? undefined : found.others?.get(destination.service)) ?? found;
    this.breaker = rules.breakerOf(this.route.service);
    this.preferred = rules.written.sticky === true ? this.#stayedWith() : undefined;
  }

  get maxBodyBytes(): number | undefined {
    return this.#work.rules.written.maxBodyBytes;
  }

  /** Members that may be tried after the first. */
  get retries(): number {
    return this.#work.rules.written.retries ?? Infinity;
  }

  /** What a body gets that is larger than the publisher wants. */
  tooLarge(): Error {
    return refusal('BODY_TOO_LARGE', `this name takes bodies of at most ${this.maxBodyBytes} bytes`);
  }

  /** The head as its service gets it. */
  inward(head: RequestHead): RequestHead {
    const { rules } = this.#work;
    const fields = rules.changeRequest(rules.written.sticky === true ? unmarked(head.fields) : head.fields);
    return { ...head, target: this.#target, fields };
  }

  /** An answer's fields as its client gets them, before they are checked: what a publisher sets is checked too. */
  outward(fields: FieldList, peer: PeerId | undefined): FieldList {
    const { rules } = this.#work;
    const changed = rules.changeResponse(fields);
    if (rules.written.sticky !== true || peer === undefined || peer === this.preferred) return changed;
    return [...changed, ['set-cookie', this.#deps.marks.cookie(this.route, peer)]];
  }

  /** How to compress an answer; undefined = not. */
  codingOf(answer: CompressibleAnswer): Coding | undefined {
    const { rules, fields } = this.#work;
    if (rules.written.compress !== true || !Compressor.hasRoom) return undefined;
    return chooseCoding(valuesOf(fields, 'accept-encoding'), answer);
  }

  /** A member answered with this status. */
  answered(peer: PeerId, status: number): void {
    if (UNABLE.has(status)) this.breaker?.failure(peer);
    else this.breaker?.success(peer);
  }

  #stayedWith(): PeerId | undefined {
    const cookie = valuesOf(this.#work.fields, 'cookie', '; ');
    const { members, balancer } = this.route;
    const peer = this.#deps.marks.find(cookie, this.route, members);
    return peer === undefined || !balancer.healthy(peer) || this.breaker?.isOpen(peer) === true ? undefined : peer;
  }
}

function unmarked(fields: FieldList): FieldList {
  if (!fields.some(([name, value]) => name === 'cookie' && withoutMark(value) !== value)) return fields;
  return fields.flatMap((field): FieldList => {
    if (field[0] !== 'cookie') return [field];
    const kept = withoutMark(field[1]);
    return kept === undefined ? [] : [['cookie', kept]];
  });
}

/** All values of a field as one; HTTP/2 sends cookies apart. */
function valuesOf(fields: FieldList, wanted: string, between: string = ','): string | undefined {
  const values = fields.flatMap(([name, value]) => (name === wanted ? [value] : []));
  return values.length === 0 ? undefined : values.join(between);
}
