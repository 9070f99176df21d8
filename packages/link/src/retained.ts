/** What was sent and not acknowledged, so that it can be sent again over another path. */

interface Piece {
  readonly bytes: Uint8Array;
  /** Offset behind its last byte. */
  readonly end: number;
  onTaken: (() => void) | undefined;
  /** The channel needs it no more. */
  taken: boolean;
  acknowledged: boolean;
}

/** Gone pieces at the front of the list before it is made shorter. */
const MAX_GONE = 256;

/**
 * Pieces in order, by their offset since the link began. A piece is given back (`onTaken`) when both its channel and the
 * peer are done with it. Bound: the owner's; it looks at {@link bytes}.
 */
export class Retained {
  #pieces: Piece[] = [];
  #first = 0;
  #start = 0;
  #end = 0;
  /** The next piece to be given back shares its buffer with bytes that an earlier channel may still hold. */
  #shared = false;

  /** Offset of the first byte that can be sent again. */
  get start(): number {
    return this.#start;
  }

  /** Offset behind the last byte. */
  get end(): number {
    return this.#end;
  }

  /** Bytes held. */
  get bytes(): number {
    return this.#end - this.#start;
  }

  /** Keeps `bytes`; returns what the channel shall call once it needs them no more. */
  add(bytes: Uint8Array, onTaken: (() => void) | undefined): (() => void) | undefined {
    this.#end += bytes.length;
    const isShared = this.#shared && onTaken !== undefined;
    if (isShared) this.#shared = false;
    const kept = isShared ? undefined : onTaken;
    const piece: Piece = { bytes, end: this.#end, onTaken: kept, taken: false, acknowledged: false };
    this.#pieces.push(piece);
    if (kept === undefined) return undefined;
    return () => {
      piece.taken = true;
      if (piece.acknowledged) piece.onTaken?.();
    };
  }

  /** Lets go of everything before `offset`; false for an offset that was never sent. */
  acknowledge(offset: number): boolean {
    if (offset > this.#end) return false;
    for (let piece = this.#pieces[this.#first]; piece !== undefined && piece.end <= offset;) {
      this.#start = piece.end;
      piece.acknowledged = true;
      if (piece.taken) piece.onTaken?.();
      this.#first += 1;
      piece = this.#pieces[this.#first];
    }
    if (this.#first > MAX_GONE) {
      this.#pieces = this.#pieces.slice(this.#first);
      this.#first = 0;
    }
    return true;
  }

  /** The bytes from `offset` to the end of their piece; undefined at the end. `offset` is not before {@link start}. */
  at(offset: number): Uint8Array | undefined {
    // The wanted piece is near the front only when a path has just changed, so the search is by halves.
    let low = this.#first;
    let high = this.#pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#pieces[middle]?.end ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    const piece = this.#pieces[low];
    return piece?.bytes.subarray(offset - (piece.end - piece.bytes.length));
  }

  /** The channel changed: what the old one still holds must never be written over, so nothing of it is given back. */
  disown(): void {
    for (let i = this.#first; i < this.#pieces.length; i++) {
      const piece = this.#pieces[i];
      if (piece !== undefined) piece.onTaken = undefined;
    }
    this.#shared = true;
  }

  clear(): void {
    this.#pieces = [];
    this.#first = 0;
    this.#start = this.#end;
  }
}
