/** Answers to what members showed, counted by code; `OK` is what was taken. Bound: the codes that the gateway has. */
import type { PublishAnswer } from '@moat/overlay';

export class AnswerCounter {
  readonly #counts = new Map<string, number>();

  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  /** Counts an answer and hands it on; a name that was refused beside others counts as well. */
  counted(answer: PublishAnswer): PublishAnswer {
    const codes = answer.ok ? ['OK', ...answer.refused.map(({ code }) => code)] : [answer.code];
    for (const code of codes) this.#counts.set(code, (this.#counts.get(code) ?? 0) + 1);
    return answer;
  }
}
