import type { FrameWriter } from './frame-writer.ts';
import type { Stream } from './stream.ts';

/** What turns need of their link. */
export interface TurnsDeps {
  readonly writer: FrameWriter;
  /** False while the channel takes no more. */
  readonly isWritable: () => boolean;
  /** True while the link has credit for data. */
  readonly hasCredit: () => boolean;
}

/**
 * Streams that can send as soon as the link can, served in rotation. Who waits for the link's credit is not looked at
 * while there is none: a peer that gives a byte at a time would make us look at thousands for it.
 * Bound: one entry a stream.
 */
export class Turns {
  readonly #deps: TurnsDeps;
  /** Their next frame needs no credit. */
  readonly #free = new Set<Stream>();
  readonly #data = new Set<Stream>();
  #running = false;

  constructor(deps: TurnsDeps) {
    this.#deps = deps;
  }

  /** True while streams that waited are served; what is opened meanwhile waits behind them. */
  get running(): boolean {
    return this.#running;
  }

  wait(stream: Stream): void {
    if (stream.waitsForCredit) this.#data.add(stream);
    else {
      this.#data.delete(stream);
      this.#free.add(stream);
    }
  }

  forget(stream: Stream): void {
    if (this.#free.size > 0) this.#free.delete(stream);
    if (this.#data.size > 0) this.#data.delete(stream);
  }

  /** Gives turns until nothing moves any more, and tells the streams that may write again. */
  run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      let drained: Stream[];
      do {
        drained = this.#rounds();
        for (const stream of drained) {
          // The first may fill the channel; the others keep their place instead of copying what they cannot send.
          if (this.#deps.isWritable()) stream.drained();
          else this.wait(stream);
        }
      } while (drained.length > 0 && this.#deps.isWritable());
    } finally {
      this.#running = false;
    }
  }

  #rounds(): Stream[] {
    const { writer, isWritable, hasCredit } = this.#deps;
    const canSendData = (): boolean => isWritable() && hasCredit();
    const drained: Stream[] = [];
    let before: number;
    do {
      before = writer.writtenBytes;
      this.#round(this.#free, isWritable, drained);
      this.#round(this.#data, canSendData, drained);
    } while (writer.writtenBytes !== before);
    return drained;
  }

  #round(streams: Set<Stream>, mayGoOn: () => boolean, drained: Stream[]): void {
    // Who needs another turn joins the set again at its end.
    let turns = streams.size;
    for (const stream of streams) {
      if (turns-- === 0 || !mayGoOn()) break;
      streams.delete(stream);
      if (stream.takeTurn()) drained.push(stream);
    }
  }
}
