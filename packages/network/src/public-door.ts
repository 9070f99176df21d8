/** What gateways pass on, let in or not: how often first (`public-limits`), then who (`public-auth`). */
import type { ContractView } from '@moat/contract';
import type { LinkStream } from '@moat/core';
import { DelayedStream } from './delayed-stream.ts';
import { IntroducedStream } from './introduced-stream.ts';
import { PublicAuth, type PublicAuthDeps, type Visit } from './public-auth.ts';
import { PublicLimits } from './public-limits.ts';

/** What becomes of a stream: one of both, once. */
export interface DoorKeeper {
  /** `leave` is to be called once, when it is over. */
  onEntered(stream: LinkStream, leave: () => void): void;
  onRefused(stream: LinkStream, code: string): void;
}

export class PublicDoor {
  readonly #limits: PublicLimits;
  readonly #auth: PublicAuth;

  constructor(deps: PublicAuthDeps) {
    this.#limits = new PublicLimits(deps);
    this.#auth = new PublicAuth(deps);
  }

  update(view: ContractView): void {
    this.#limits.update(view);
    this.#auth.update(view);
  }

  /** Before it returns, except where a password is to be hashed: what the stream brings meanwhile is held. */
  enter(stream: LinkStream, keeper: DoorKeeper): void {
    const leave = this.#limits.enter(stream);
    if (typeof leave === 'string') return keeper.onRefused(stream, leave);
    const visit = this.#auth.visit(stream);
    if (visit === undefined) return keeper.onEntered(stream, leave);
    if (!(visit instanceof Promise)) return decide(stream, visit, leave, keeper);
    const delayed = new DelayedStream(stream);
    void visit.then((visited) => (delayed.isClosed ? leave() : decide(delayed, visited, leave, keeper)));
  }
}

function decide(stream: LinkStream, visit: Visit, leave: () => void, keeper: DoorKeeper): void {
  if ('head' in visit) return keeper.onEntered(new IntroducedStream(stream, visit.head), leave);
  leave();
  keeper.onRefused(stream, visit.code);
}
