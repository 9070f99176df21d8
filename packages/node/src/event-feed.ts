/** What happens, for whoever follows `GET /v1/events`. */
import type { AgentEvent } from '@moat/admin-api';

/** Events that wait for one slow follower. */
const BACKLOG = 1024;
const FOLLOWERS = 64;

/** An event without its time, which the feed adds. */
export type FeedEvent = AgentEvent extends infer Each ? (Each extends AgentEvent ? Omit<Each, 'time'> : never) : never;

/** Bound: {@link BACKLOG} events a follower, the oldest are dropped; {@link FOLLOWERS} followers, the oldest is ended. */
export class EventFeed {
  readonly #now: () => number;
  readonly #followers = new Set<Follower>();
  #ended = false;

  constructor(now: () => number) {
    this.#now = now;
  }

  emit(event: FeedEvent): void {
    const timed = { time: new Date(this.#now()).toISOString(), ...event } as AgentEvent;
    for (const follower of this.#followers) follower.push(timed);
  }

  /** Events from now on, after `first`; ends with the signal or the feed. */
  async *follow(signal: AbortSignal, first: readonly FeedEvent[] = []): AsyncGenerator<AgentEvent, void, undefined> {
    if (this.#ended || signal.aborted) return;
    const follower = new Follower();
    if (this.#followers.size >= FOLLOWERS)
      for (const oldest of this.#followers) {
        oldest.end();
        this.#followers.delete(oldest);
        break;
      }
    this.#followers.add(follower);
    const time = new Date(this.#now()).toISOString();
    for (const event of first) follower.push({ time, ...event });
    const onAbort = (): void => follower.end();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      for (;;) {
        const event = await follower.next();
        if (event === undefined) return;
        yield event;
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#followers.delete(follower);
    }
  }

  /** Ends every follower after what it has waiting. */
  end(): void {
    this.#ended = true;
    for (const follower of this.#followers) follower.end();
  }
}

class Follower {
  #waiting: AgentEvent[] = [];
  #ended = false;
  #wake: () => void = () => undefined;

  push(event: AgentEvent): void {
    if (this.#ended) return;
    if (this.#waiting.length >= BACKLOG) this.#waiting.shift();
    this.#waiting.push(event);
    this.#wake();
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  async next(): Promise<AgentEvent | undefined> {
    while (this.#waiting.length === 0 && !this.#ended) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#waiting.shift();
  }
}
