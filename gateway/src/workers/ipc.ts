/** One side of the channel between control and a worker: messages in order, sockets beside them, questions with answers. */
import type { ChildProcess, SendHandle } from 'node:child_process';
import { MoatError, errorCode } from '@moat/core';
import { refusal } from '../errors.ts';

/** Milliseconds after a deadline: this process may have stood still itself, with the answer waiting to be read. */
const SECOND_LOOK_MS = 2_000;
/** Questions that wait for an answer; one more is refused. */
const MAX_QUESTIONS = 10_000;

/** What a message is wrapped in. */
type Envelope =
  | { readonly say: unknown }
  | { readonly ask: unknown; readonly id: number }
  | { readonly answer: unknown; readonly id: number }
  | { readonly failed: { readonly code: string; readonly message: string }; readonly id: number };

interface Question {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  timer: NodeJS.Timeout;
}

export interface IpcHandlers<In, Asked> {
  onMessage(message: In, handle: SendHandle | undefined): void;
  /** Answers a question of the other side; what it throws is what the other side is told. */
  onQuestion(question: Asked): Promise<unknown>;
}

/** Bound: 10,000 questions without an answer. Messages wait in the pipe; both sides are ours and read. */
export class Ipc<Out, In, Asks, Asked> {
  readonly #channel: ChildProcess | NodeJS.Process;
  readonly #handlers: IpcHandlers<In, Asked>;
  readonly #questions = new Map<number, Question>();
  #lastId = 0;

  constructor(channel: ChildProcess | NodeJS.Process, handlers: IpcHandlers<In, Asked>) {
    this.#channel = channel;
    this.#handlers = handlers;
    channel.on('message', (envelope: Envelope, handle?: SendHandle) => this.#receive(envelope, handle));
    channel.on('disconnect', () => {
      for (const { reject, timer } of this.#questions.values()) {
        clearTimeout(timer);
        reject(gone());
      }
      this.#questions.clear();
    });
  }

  /** False when the other side is gone; else `handle` is its own from now on. */
  say(message: Out, handle?: SendHandle): boolean {
    return this.#send({ say: message }, handle);
  }

  /** @throws what the other side threw; `WORKER_GONE` when it is gone, or does not answer within `ms` */
  ask(question: Asks, ms: number): Promise<unknown> {
    if (!this.#channel.connected || this.#questions.size >= MAX_QUESTIONS) return Promise.reject(gone());
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const question = this.#questions.get(id);
        if (question === undefined) return;
        question.timer = setTimeout(() => {
          this.#questions.delete(id);
          reject(gone());
        }, SECOND_LOOK_MS);
      }, ms);
      this.#questions.set(id, { resolve, reject, timer });
      this.#send({ ask: question, id });
    });
  }

  #send(envelope: Envelope, handle?: SendHandle): boolean {
    if (!this.#channel.connected) return false;
    this.#channel.send?.(envelope, handle, {}, ignore);
    return true;
  }

  #receive(envelope: Envelope, handle: SendHandle | undefined): void {
    if ('say' in envelope) return this.#handlers.onMessage(envelope.say as In, handle);
    const { id } = envelope;
    if ('ask' in envelope) {
      void this.#handlers.onQuestion(envelope.ask as Asked).then(
        (answer) => void this.#send({ answer, id }),
        (error: unknown) => {
          const message = error instanceof Error ? error.message : 'it failed';
          this.#send({ failed: { code: errorCode(error), message }, id });
        },
      );
      return;
    }
    const question = this.#questions.get(id);
    if (question === undefined) return;
    this.#questions.delete(id);
    clearTimeout(question.timer);
    if ('failed' in envelope) {
      question.reject(new MoatError(envelope.failed.code, envelope.failed.message, { retryable: true }));
    } else question.resolve(envelope.answer);
  }
}

function gone(): ReturnType<typeof refusal> {
  return refusal('WORKER_GONE', 'the other process of this gateway is gone or does not answer', { retryable: true });
}

const ignore = (): void => undefined;
