/**
 * A connection as a whole: however its bytes are cut, however slowly bodies are taken and answers given, it serves what
 * the parser alone reads of them, in order, answers each once, and comes to an end. FUZZ_SEED=<number> repeats a run.
 */
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { systemClock } from '@moat/core';
import fc from 'fast-check';
import type { ClientRequest } from '../../src/request/client-request.ts';
import { Http1 } from '../../src/request/http1.ts';
import { HOST } from '../edge-under-test.ts';
import { readCorpus } from './corpus.ts';
import { readByGateway, type Message } from './differential/readings.ts';
import { Tape, cutsOf, streamOf } from './differential/stream.ts';
import { readAnswers } from './wire/read-answers.ts';

const SEED = Number(process.env['FUZZ_SEED'] ?? randomInt(2 ** 31));
const CASES = process.env['MOAT_TEST'] === 'full' ? 50_000 : 1_500;
/** Turns of the loop in which a connection must have ended once its client has. */
const MAX_TURNS = 500;
const REFUSAL = Buffer.from('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
const corpus = readCorpus(HOST).map(({ bytes }) => bytes);

/** What the phases behind the connection do, by decisions of a tape. */
class Phases {
  readonly served: Message[] = [];
  readonly closed: boolean[] = [];
  readonly #tape: Tape;

  constructor(tape: Tape) {
    this.#tape = tape;
  }

  serve(request: ClientRequest): void {
    const { method, target, upgrade, bodyless } = request.head;
    const index = this.served.length;
    const message: Message = { method, target, body: '', whole: false };
    this.served.push(message);
    request.listen({
      onDrain: () => undefined,
      onBroken: () => this.#answer(request, 400),
      onClose: (delivered) => {
        assert.equal(this.closed[index], undefined, 'closed once');
        this.closed[index] = delivered;
      },
    });
    const whole = (): void => {
      message.whole = true;
      this.#later(() => this.#answer(request, 200));
    };
    if (bodyless || upgrade !== undefined) return whole();
    this.#later(() =>
      request.body.read({
        onData: (chunk) => {
          message.body += Buffer.from(chunk).toString('latin1');
          if (this.#tape.below(3) !== 2) return;
          request.body.pause();
          this.#later(() => request.body.resume());
        },
        onEnd: whole,
      }),
    );
  }

  #later(act: () => void): void {
    const turns = this.#tape.below(4);
    if (turns === 0) return act();
    if (turns === 1) return queueMicrotask(act);
    if (turns === 2) return void setImmediate(act);
    setImmediate(() => setImmediate(act));
  }

  #answer(request: ClientRequest, status: number): void {
    const { answer, head } = request;
    if (answer.headSent) return;
    if (status === 400) answer.closeAfter();
    const body = Buffer.from(head.target);
    const hasLength = this.#tape.below(2) === 0;
    answer.writeHead(status, hasLength ? [['content-length', String(body.length)]] : []);
    if (head.method !== 'HEAD') answer.write(body);
    this.#later(() => answer.end([]));
  }
}

async function run([ofStream, ofTurns]: readonly [readonly number[], readonly number[]]): Promise<void> {
  const bytes = Buffer.from(streamOf(new Tape(ofStream), corpus), 'latin1');
  const tape = new Tape(ofTurns);
  const phases = new Phases(tape);
  let text = '';
  const socket = new Duplex({
    allowHalfOpen: true,
    read: () => undefined,
    write: (chunk: Buffer, _encoding, done) => {
      text += chunk.toString('latin1');
      if (tape.below(2) === 0) done();
      else setImmediate(done);
    },
  });
  const http = new Http1(
    {
      clock: systemClock,
      newId: () => 'id',
      serve: (request) => phases.serve(request),
      answerUnreadable: () => REFUSAL,
    },
    { scheme: 'https', maxHeadBytes: 16 * 1_024, headMs: 10_000, idleMs: 10_000 },
  );
  http.accept(socket as Socket, { address: '192.0.2.1', port: 1 }, HOST);
  const at = [0, ...cutsOf(tape, bytes.length), bytes.length];
  for (const [i, to] of at.slice(1).entries()) {
    const piece = bytes.subarray(at[i], to);
    if (piece.length > 0) socket.push(piece);
    if (tape.below(2) === 1) await turn();
  }
  socket.push(null);
  for (let turns = 0; !socket.closed && turns < MAX_TURNS; turns += 1) await turn();
  const ended = socket.closed;
  http.stop();

  const what = JSON.stringify(bytes.toString('latin1'));
  assert.ok(ended, `it did not end: ${what}`);
  const { messages, refusal } = readByGateway([bytes]);
  const whole = messages.filter((message) => message.whole);
  assert.deepEqual(
    phases.served.filter((message) => message.whole),
    whole,
    what,
  );
  assert.deepEqual(
    phases.served.map(({ target }) => target),
    messages.map(({ target }) => target),
    what,
  );
  assert.equal(phases.closed.filter((closed) => closed !== undefined).length, phases.served.length, what);
  const answers = readAnswers(
    text,
    messages.map(({ method }) => method),
  ).map(({ status }) => status);
  const broken = whole.length < messages.length || refusal !== undefined;
  assert.deepEqual(answers, [...whole.map(() => 200), ...(broken ? [400] : [])], what);
}

test('a connection serves what the parser reads, and ends', { timeout: 1_000_000 }, async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const numbers = fc.noBias(fc.array(fc.nat({ max: 0xffff }), { minLength: 60, maxLength: 200, size: 'max' }));
  await fc.assert(fc.asyncProperty(fc.tuple(numbers, numbers), run), { numRuns: CASES, seed: SEED });
});
