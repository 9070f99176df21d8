import type { FrameWriter } from './frame-writer.ts';
import type { Stream } from './stream.ts';

/** What turns need of their link. */
export interface TurnsDeps {
  readonly writer: FrameWriter;
  /** False while the channel takes no more. */
  readonly isWritable: () => boolean;
}

/** Streams that can send as soon as the link can, served in rotation. Bound: one entry a stream. */
export class Turns {
  readonly #deps: TurnsDeps;
  readonly #waiting = new Set<Stream>();
  #running = false;

  constructor(deps: TurnsDeps) {
    this.#deps = deps;
  }

  /** True while streams that waited are served; what is opened meanwhile waits behind them. */
  get running(): boolean {
    return this.#running;
  }

  wait(stream: Stream): void {
    this.#waiting.add(stream);
  }

  forget(stream: Stream): void {
    this.#waiting.delete(stream);
  }

  /** Gives turns until nothing moves any more, and tells the streams that may write again. */
  run(): void {
    if (this.#running) return;
    this.#running = true;
    try {
      let drained: Stream[];
      do {
        drained = this.#round();
        for (const stream of drained) {
          // The first may fill the channel; the others keep their place instead of copying what they cannot send.
          if (this.#deps.isWritable()) stream.drained();
          else this.#waiting.add(stream);
        }
      } while (drained.length > 0 && this.#deps.isWritable());
    } finally {
      this.#running = false;
    }
  }

  #round(): Stream[] {
    const { writer, isWritable } = this.#deps;
    const drained: Stream[] = [];
    let before: number;
    do {
      before = writer.writtenBytes;
      // Who needs another turn joins the set again at its end.
      let turns = this.#waiting.size;
      for (const stream of this.#waiting) {
        if (turns-- === 0 || !isWritable()) break;
        this.#waiting.delete(stream);
        if (stream.takeTurn()) drained.push(stream);
      }
    } while (isWritable() && this.#waiting.size > 0 && writer.writtenBytes !== before);
    return drained;
  }
}
