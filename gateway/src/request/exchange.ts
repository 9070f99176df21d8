/**
 * exchange: one request over a link to a member and its answer back. Chooses a member, opens a stream, moves
 * bytes both ways with back-pressure, and tries another member where that cannot do anything twice.
 *
 * Nothing is buffered here: a chunk the client cannot take pauses the stream (its credit runs out), a chunk the
 * link cannot take pauses the client (TCP's window closes).
 */
import {
  errorCode,
  isTrailerAllowed,
  type Bagged,
  type AcceptHead,
  type Clock,
  type FieldList,
  type Links,
  type LinkStream,
  type MoatError,
  type PeerId,
  type RequestHead,
} from '@moat/core';
import { refusal, type GatewayErrorCode } from '../errors.ts';
import type { Route } from '../routes/snapshot.ts';
import { codedFields } from '../rules/compression.ts';
import type { RuledRequest } from '../rules/ruled-request.ts';
import { Attempt, type AttemptOwner } from './attempt.ts';
import { MemberChoice } from './choose.ts';
import type { ClientEvents, ClientRequest } from './client-request.ts';
import { CodedAnswer } from './coded-answer.ts';
import { isCall, isWritable } from './fields.ts';
import type { Outcome } from './log.ts';
import type { ParsedHead } from './parse.ts';
import { checkAnswer, interimFields, type CheckedAnswer } from './respond.ts';
import { failureOf, isByRule, letsNobodyIn, stalled, wasNeverSent } from './stream-failure.ts';

export interface ExchangeDeps {
  readonly clock: Clock;
  readonly links: Pick<Links, 'get' | 'connect'>;
}

export interface ExchangeOptions {
  readonly domain: string;
  /** From the last byte of the request to the head of the answer. */
  readonly answerMs: number;
  /** A client that neither sends nor takes anything for so long is given up. */
  readonly stallMs: number;
  /** Time to get a link to a member that has none. */
  readonly connectMs: number;
  /** Undefined = any size. */
  readonly maxBodyBytes: number | undefined;
}

/** One request, as the phases before left it. */
export interface ExchangeWork {
  readonly request: ClientRequest;
  readonly head: ParsedHead;
  readonly route: Route;
  readonly inward: RequestHead;
  /** Absent where its name has no rules. */
  readonly rules?: RuledRequest | undefined;
}

/** Called once, by either. Not a promise: each costs every request a microtask and its memory. */
export interface ExchangeEnd {
  /** Nothing more can be sent to the client. */
  onDone(outcome: Outcome): void;
  /** Nothing was sent: whoever is told answers. */
  onFailed(error: Error): void;
}

/** Interim answers of one request; a member could else fill a client that does not read with them. */
const MAX_INTERIM = 16;
/** Bytes a second an upload must bring on average while it is waited for: less is no slow line but a held place. */
const MIN_UPLOAD_RATE = 64;

/** May be sent twice (RFC 9110 §9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE']);

export class Exchange implements ClientEvents, AttemptOwner, Bagged {
  /** In the bag of running ones. */
  place = -1;
  readonly route: Route;
  readonly #deps: ExchangeDeps;
  readonly #options: ExchangeOptions;
  readonly #request: ClientRequest;
  readonly #head: ParsedHead;
  readonly #inward: RequestHead;
  readonly #end: ExchangeEnd;
  readonly #rules: RuledRequest | undefined;
  readonly #choice: MemberChoice;
  #attempt: Attempt | undefined;
  #answer: CheckedAnswer | undefined;
  /** What stands between the service's answer and the client, if anything. */
  #coded: CodedAnswer | undefined;
  #bodyRead = false;
  #bodyPaused = false;
  #bodyDone: boolean;
  /** gRPC says itself how long it waits; both sides of a stream may be silent for hours. */
  readonly #isCall: boolean;
  #answerDone = false;
  #over = false;
  #lastError: MoatError<GatewayErrorCode> | undefined;
  /** Time of the client's last sign of life, or since it has been waited for. */
  #clientMs: number;
  /** Since when the service has been waited for. */
  #serviceMs: number;
  /** True while the client has not taken what was written. */
  #blocked = false;
  #interim = 0;
  /** Since when, and from how many bytes on, the upload's rate is counted. */
  #rateMs = 0;
  #rateBytes = 0;

  constructor(deps: ExchangeDeps, options: ExchangeOptions, work: ExchangeWork, end: ExchangeEnd) {
    this.#end = end;
    this.#deps = deps;
    this.#options = options;
    this.#request = work.request;
    this.#head = work.head;
    this.route = work.route;
    this.#rules = work.rules;
    this.#choice = new MemberChoice(deps.links, work.route, work.rules?.preferred, work.rules?.breaker);
    this.#inward = work.inward;
    this.#bodyDone = work.head.bodyless && work.head.upgrade === undefined;
    this.#isCall = isCall(work.head);
    this.#clientMs = this.#serviceMs = work.request.startedMs;
  }

  /** True once it carries another protocol. */
  get isSwitched(): boolean {
    return this.#answer?.status === 101;
  }

  /** Starts it; to be called once. It may be over before this returns. */
  run(): void {
    this.#open();
  }

  /** Ends whatever runs with `code`, as when its name is withdrawn. */
  end(code: GatewayErrorCode): void {
    this.#fail(refusal(code, 'the request was ended by the gateway', { retryable: true }));
  }

  /** To call about every second: ends what waits too long. */
  watch(nowMs: number): void {
    if (this.#over) return;
    if (this.#blocked) {
      if (nowMs - this.#clientMs > this.#options.stallMs) this.#fail(stalled());
    } else if (this.#answer === undefined && !this.#isCall) {
      const waitsForClient = !this.#bodyDone && !this.#bodyPaused && this.#head.upgrade === undefined;
      if (waitsForClient && this.#isStalled(nowMs)) this.#fail(stalled());
      else if (!waitsForClient && nowMs - this.#serviceMs > this.#options.answerMs) {
        if (this.#attempt) this.#failed(this.#attempt.peer);
        this.#fail(refusal('ANSWER_TIMEOUT', 'the service did not answer in time', { retryable: true }));
      }
    }
  }

  /** Nothing came for `stallMs`, or too little in all of it. */
  #isStalled(nowMs: number): boolean {
    const { stallMs } = this.#options;
    if (nowMs - this.#clientMs > stallMs) return true;
    if (nowMs - this.#rateMs <= stallMs) return false;
    const { receivedBytes } = this.#request.body;
    const isSlow = receivedBytes - this.#rateBytes < (MIN_UPLOAD_RATE * stallMs) / 1_000;
    this.#countRateFrom(nowMs);
    return isSlow;
  }

  #countRateFrom(nowMs: number): void {
    this.#rateMs = nowMs;
    this.#rateBytes = this.#request.body.receivedBytes;
  }

  onDrain(): void {
    if (this.#coded) this.#coded.resume();
    else this.#unblock();
  }

  #unblock(): void {
    this.#blocked = false;
    this.#attempt?.stream.resume();
  }

  #block(): void {
    if (this.#blocked) return;
    this.#blocked = true;
    this.#clientMs = this.#deps.clock.now();
    this.#attempt?.stream.pause();
  }

  onBroken(error: Error): void {
    this.#fail(error);
  }

  onClose(delivered: boolean): void {
    if (this.#over) return;
    if (delivered && this.#answerDone) this.#finish(undefined, 'CLIENT_GONE');
    else this.#finish('CLIENT_GONE', 'CLIENT_GONE');
  }

  #open(): void {
    for (;;) {
      const chosen = this.#choice.next();
      if (chosen === undefined) return this.#askForLink();
      const { peer, link } = chosen;
      try {
        const { deployment, service } = this.route;
        const stream = link.open({ deployment, service, kind: 'http' }, this.#inward);
        return this.#begin(new Attempt(peer, stream, this));
      } catch (error) {
        this.#lastError = failureOf(errorCode(error));
        // What is wrong with the request is wrong on every link.
        if (!this.#lastError.retryable) return this.#fail(this.#lastError);
        this.#failed(peer);
        if (!this.#mayTryAnother()) return this.#fail(this.#lastError);
      }
    }
  }

  #askForLink(): void {
    const asked = this.#choice.ask(this.#options.connectMs, () => {
      if (!this.#over) this.#open();
    });
    if (asked) return;
    this.#fail(this.#lastError ?? this.#choice.nobody());
  }

  /** `peer` could not be reached, or did not answer as it should. */
  #failed(peer: PeerId): void {
    this.route.balancer.failure(peer);
    this.#rules?.breaker?.failure(peer);
  }

  #mayTryAnother(): boolean {
    return this.#rules === undefined || this.#choice.tries <= this.#rules.retries;
  }

  #begin(attempt: Attempt): void {
    const { peer, stream } = attempt;
    this.#attempt = attempt;
    this.#serviceMs = this.#deps.clock.now();
    this.route.balancer.begin(peer);
    this.#rules?.breaker?.begin(peer);
    stream.listen(attempt);
    if (this.#bodyDone) stream.end();
    else if (this.#head.upgrade === undefined) this.#readBody(stream);
  }

  #readBody(stream: LinkStream): void {
    this.#bodyRead = true;
    if (this.#head.expectsContinue) this.#request.answer.inform(100, []);
    this.#clientMs = this.#deps.clock.now();
    this.#countRateFrom(this.#clientMs);
    const { body } = this.#request;
    const { maxBodyBytes: gatewayLimit = Infinity } = this.#options;
    const nameLimit = this.#rules?.maxBodyBytes ?? Infinity;
    const limit = this.#head.upgrade === undefined ? Math.min(gatewayLimit, nameLimit) : Infinity;
    body.read({
      onData: (chunk) => {
        if (this.#over) return;
        this.#clientMs = this.#deps.clock.now();
        if (body.receivedBytes > limit) {
          if (this.#rules && limit === nameLimit) return this.#fail(this.#rules.tooLarge());
          return this.#fail(refusal('BODY_TOO_LARGE', `this gateway takes bodies of at most ${limit} bytes`));
        }
        if (stream.write(chunk)) return;
        this.#bodyPaused = true;
        this.#serviceMs = this.#clientMs;
        body.pause();
      },
      onEnd: (trailers) => {
        if (this.#over) return;
        this.#bodyDone = true;
        this.#serviceMs = this.#deps.clock.now();
        stream.end(trailers);
      },
    });
  }

  onStreamDrain(): void {
    if (!this.#bodyPaused) return;
    this.#bodyPaused = false;
    this.#clientMs = this.#deps.clock.now();
    this.#countRateFrom(this.#clientMs);
    this.#request.body.resume();
  }

  /** Whatever one answer breaks ends with it, not with the link it came over. */
  onAnswerHead(head: AcceptHead): void {
    try {
      this.#onHead(head);
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  onAnswerEnd(trailers: FieldList): void {
    try {
      this.#onEnd(trailers);
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #onHead(head: AcceptHead): void {
    if ('connected' in head || this.#answer !== undefined) return this.#invalid('the member answered out of order');
    const { status } = head;
    if (status >= 100 && status < 200 && status !== 101) {
      // 100 was answered here; of the others the client's protocol may have none.
      if (status !== 102 && status !== 103) return;
      this.#interim += 1;
      if (this.#interim > MAX_INTERIM) return this.#invalid('the member sent too many interim answers');
      if (!head.fields.every(isWritable)) return this.#invalid('a field of an interim answer is malformed');
      this.#request.answer.inform(status, interimFields(head.fields));
      return;
    }
    const attempt = this.#attempt;
    let answer: CheckedAnswer;
    try {
      const fields = this.#rules === undefined ? head.fields : this.#rules.outward(head.fields, attempt?.peer);
      answer = checkAnswer(fields === head.fields ? head : { status, fields }, this.#head, this.#options);
    } catch (error) {
      return this.#invalid((error as Error).message);
    }
    this.#answer = answer;
    if (attempt) {
      this.route.balancer.success(attempt.peer);
      this.#rules?.answered(attempt.peer, status);
    }
    if (status !== 101) return this.#request.answer.writeHead(status, this.#encode(answer));
    const protocol = head.fields.find(([name]) => name === 'upgrade')?.[1] ?? this.#head.upgrade ?? '';
    this.#request.answer.writeHead(101, [['connection', 'Upgrade'], ['upgrade', protocol], ...answer.fields]);
    if (attempt) this.#readBody(attempt.stream);
  }

  /** Puts a compressor in the way where the rules say so; gives the fields that go with it. */
  #encode(answer: CheckedAnswer): FieldList {
    const coding = this.#rules?.codingOf(answer);
    if (coding === undefined) return answer.fields;
    this.#coded = new CodedAnswer(this.#request.answer, coding, {
      onDrain: () => this.#unblock(),
      onBlocked: () => this.#block(),
    });
    return codedFields(answer.fields, coding);
  }

  onAnswerData(chunk: Uint8Array): void {
    const answer = this.#answer;
    const to = this.#coded ?? this.#request.answer;
    if (!answer) return this.#invalid('the member sent a body before its head');
    if (answer.status !== 101) {
      if (!answer.hasBody) return this.#invalid('the service sent a body where none may be');
      const total = to.sentBytes + chunk.length;
      if (answer.contentLength !== undefined && total > answer.contentLength) {
        return this.#invalid('the service sent more than it announced');
      }
      // The client has what it was promised, whether or not the member says that this is all.
      if (total === answer.contentLength) this.#answerDone = true;
    }
    if (!to.write(chunk)) this.#block();
    if (this.#answerDone) this.#coded?.end([]);
  }

  #onEnd(trailers: FieldList): void {
    const answer = this.#answer;
    if (!answer) return this.#invalid('the member ended without an answer');
    const to = this.#coded ?? this.#request.answer;
    const sent = to.sentBytes;
    if (answer.contentLength !== undefined && sent < answer.contentLength) {
      return this.#invalid('the service sent less than it announced');
    }
    if (!trailers.every(isWritable)) return this.#invalid('a trailer of the answer is malformed');
    this.#answerDone = true;
    const passed = answer.contentLength === undefined && answer.hasBody;
    to.end(passed ? trailers.filter(([name]) => isTrailerAllowed(name)) : []);
  }

  onStreamClose(code: string | undefined): void {
    if (this.#answerDone) {
      // A WebSocket's other direction is over too; an upload nobody reads ends with its answer.
      if (code !== undefined && this.#answer?.status === 101) this.#request.answer.destroy();
      return;
    }
    const attempt = this.#attempt;
    const error = failureOf(code);
    if (isByRule(error)) return this.#fail(error);
    if (attempt && !this.#answer) this.#failed(attempt.peer);
    this.#failOrRetry(error, wasNeverSent(code));
  }

  /** Another member may be tried while nothing came back and nothing can happen twice. */
  #failOrRetry(error: MoatError<GatewayErrorCode>, isUnsent: boolean): void {
    const harmless = (isUnsent || IDEMPOTENT.has(this.#head.method)) && this.#head.bodyless && !this.#bodyRead;
    if (this.#answer !== undefined || !harmless || !this.#mayTryAnother()) return this.#fail(error);
    this.#release();
    // A machine that lets nobody in is no news where another one has the service and it is down.
    if (this.#lastError === undefined || !letsNobodyIn(error)) this.#lastError = error;
    this.#open();
  }

  #invalid(message: string): void {
    const attempt = this.#attempt;
    if (attempt) this.#failed(attempt.peer);
    this.#fail(refusal('ANSWER_INVALID', message));
  }

  #fail(error: Error): void {
    if (this.#over) return;
    const code = errorCode(error);
    if (this.#request.answer.headSent) {
      // Too late for an error page: the cut tells the client that the answer is not whole.
      this.#request.answer.destroy();
      this.#finish(code, code);
      return;
    }
    this.#over = true;
    this.#choice.end();
    this.#release(code);
    this.#end.onFailed(error);
  }

  #finish(code: string | undefined, resetCode: string): void {
    this.#over = true;
    this.#coded?.close();
    this.#choice.end();
    const { peer } = this.#attempt ?? {};
    this.#release(resetCode);
    const { deployment, service } = this.route;
    this.#end.onDone({
      status: this.#answer?.status ?? 499,
      code,
      deployment,
      service,
      peer,
      attempts: this.#choice.tries,
    });
  }

  /** Lets the attempt go; a stream that is still open is reset. */
  #release(code: string = 'CLIENT_GONE'): void {
    const attempt = this.#attempt;
    if (!attempt) return;
    this.#attempt = undefined;
    attempt.abandon();
    this.route.balancer.end(attempt.peer);
    attempt.stream.reset(code);
  }
}
