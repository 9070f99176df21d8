import { MoatError, type MessageStream } from '@moat/core';

/** Requests of one kind that are in hand at once. */
export interface IntakeLimits {
  /** Requests being read; the oldest is reset. */
  readonly reading: number;
  /** Requests being read that come from one origin; its oldest is reset. */
  readonly readingPerOrigin: number;
  /** Requests being worked on; more are refused. */
  readonly working: number;
}

interface Reading {
  readonly origin: string;
  readonly stream: MessageStream;
}

/**
 * Where strangers' requests come in. Who opens streams and says nothing takes no place from those who ask: what is
 * still being read gives way, and only whole requests count as work. Bound: {@link IntakeLimits}.
 */
export class Intake {
  readonly #limits: IntakeLimits;
  /** Oldest first. */
  readonly #reading = new Set<Reading>();
  #working = 0;

  constructor(limits: IntakeLimits) {
    this.#limits = limits;
  }

  async read<T>(stream: MessageStream, origin: string, read: () => Promise<T>): Promise<T> {
    const entry: Reading = { origin, stream };
    this.#makeRoom(origin);
    this.#reading.add(entry);
    try {
      return await read();
    } finally {
      this.#reading.delete(entry);
    }
  }

  /** @throws `QUEUE_FULL` */
  async work<T>(work: () => Promise<T>): Promise<T> {
    if (this.#working >= this.#limits.working) throw full();
    this.#working += 1;
    try {
      return await work();
    } finally {
      this.#working -= 1;
    }
  }

  #makeRoom(origin: string): void {
    const ofOrigin = [...this.#reading].filter((entry) => entry.origin === origin);
    const [oldest] = this.#reading;
    let entry: Reading | undefined;
    if (ofOrigin.length >= this.#limits.readingPerOrigin) entry = ofOrigin[0];
    else if (this.#reading.size >= this.#limits.reading) entry = oldest;
    if (entry === undefined) return;
    this.#reading.delete(entry);
    entry.stream.abort(full());
  }
}

function full(): MoatError<'QUEUE_FULL'> {
  return new MoatError('QUEUE_FULL', 'too many requests at once', { retryable: true });
}
