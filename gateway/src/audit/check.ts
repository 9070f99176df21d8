/** Reads a chain from its anchor to its end and says what does not fit. Pure. */
import { isMoatError } from '@moat/core';
import { hashOfLine, type AuditAnchor, type AuditHead, type AuditLine } from './chain.ts';

/** Something that must not be. */
export interface AuditProblem {
  /** Where: the line's own number, or the one that was expected there. */
  readonly seq: number;
  readonly message: string;
}

/** More say no more. */
const MAX_PROBLEMS = 100;

export class ChainCheck {
  readonly #problems: AuditProblem[] = [];
  #last: AuditHead;
  #lines = 0;

  constructor(anchor: AuditAnchor) {
    this.#last = anchor;
  }

  get lines(): number {
    return this.#lines;
  }

  /** The next line of the log, as text. */
  take(text: string): void {
    this.#lines += 1;
    const expected = this.#last.seq + 1;
    const line = parseLine(text);
    if (line === undefined) {
      this.#report(expected, 'the line cannot be read');
      this.#last = { seq: expected, hash: '' };
      return;
    }
    const { seq, previous, hash } = line;
    if (seq > expected) this.#report(expected, `${seq - expected} lines are missing in front of line ${seq}`);
    else if (seq < expected) this.#report(seq, `line ${seq} stands behind line ${this.#last.seq}`);
    else if (previous !== this.#last.hash) this.#report(seq, 'it does not follow from the line before');
    if (hash !== ownHash(line)) this.#report(seq, 'it was changed after it was written');
    if (line.action === 'audit.broken') this.#report(seq, 'the gateway found the log broken when it started');
    this.#last = { seq, hash };
  }

  /** Everything was read: what the head says that is not there, and what was found before. */
  finish(head: AuditHead): readonly AuditProblem[] {
    const { seq, hash } = this.#last;
    if (seq < head.seq) this.#report(seq + 1, `the last ${head.seq - seq} lines are missing`);
    else if (seq > head.seq) this.#report(head.seq + 1, `${seq - head.seq} lines stand behind the sealed head`);
    else if (hash !== head.hash) this.#report(seq, 'the last line is not the one that was sealed');
    return this.#problems;
  }

  #report(seq: number, message: string): void {
    if (this.#problems.length < MAX_PROBLEMS) this.#problems.push({ seq, message });
  }
}

/** Undefined for what is no line at all. */
export function parseLine(text: string): AuditLine | undefined {
  try {
    const line = JSON.parse(text) as Partial<AuditLine> | null;
    const isLine = typeof line?.seq === 'number' && typeof line.hash === 'string' && typeof line.previous === 'string';
    return isLine ? (line as AuditLine) : undefined;
  } catch {
    return undefined;
  }
}

function ownHash({ hash: _hash, ...body }: AuditLine): string | undefined {
  try {
    return hashOfLine(body);
  } catch (error) {
    // A lone surrogate, say: nothing of ours wrote that.
    if (isMoatError(error)) return undefined;
    throw error;
  }
}
