/**
 * `/moat/directory/1`: anybody may ask an anchor who wishes to be found, and say that of himself. One stream is one
 * request and one answer, each one message. Nothing about deployments passes here.
 */
import { MoatError, errorCode, isMoatError, sleep, type Clock, type Logger, type MessageStream } from '@moat/core';
import { parseSignedEntry, type SignedEntry } from '@moat/contract';
import { z } from 'zod';
import type { OverlayConnection } from './connection.ts';
import type { Control } from './control.ts';
import { Deadline } from './deadline.ts';
import type { DirectoryBook, DirectoryPage, DirectoryQuery } from './directory-book.ts';
import { Intake } from './intake.ts';
import { decodeJson, encodeJson } from './messages.ts';
import type { Probation } from './probation.ts';

export const DIRECTORY_PROTOCOL = '/moat/directory/1';
const EXCHANGE_MS = 10_000;
const INTAKE = { reading: 64, readingPerOrigin: 16, working: 16 };
/** Requests that one entry, with the signatures it takes to believe it, or one page counts as. */
const COST = 3;

const text = z.string().max(500);
const place = z.int().min(0);
const requestSchema = z.union([
  z.strictObject({ put: z.unknown() }),
  z.strictObject({
    list: z.strictObject({
      kind: z.enum(['node', 'person']).optional(),
      role: z.enum(['anchor', 'gateway', 'node', 'relay']).optional(),
      region: z.string().max(63).optional(),
      handle: z.string().max(63).optional(),
      after: place.optional(),
    }),
  }),
]);
const refusedSchema = z.strictObject({ ok: z.literal(false), code: text, message: text });
const putSchema = z.union([z.strictObject({ ok: z.literal(true), taken: z.boolean() }), refusedSchema]);
const pageSchema = z.union([
  z.strictObject({
    ok: z.literal(true),
    entries: z.array(z.unknown()).max(1000),
    next: place.nullable(),
    newest: place,
    instance: z.string().max(32),
  }),
  refusedSchema,
]);

export interface DirectoryDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly control: Control;
  readonly probation: Probation;
}

export class Directory {
  readonly #deps: DirectoryDeps;
  readonly #intake = new Intake(INTAKE);

  constructor(deps: DirectoryDeps) {
    this.#deps = deps;
  }

  /** Answers from `book` from now on. */
  serve(book: DirectoryBook): void {
    this.#deps.control.handle(
      DIRECTORY_PROTOCOL,
      (stream, connection) => this.#serve(book, stream, connection),
      'anyone',
      2,
    );
  }

  /**
   * Has the anchor at the other end take an entry; false when it knows a newer one.
   * @throws `DIRECTORY_FORGED`, `DIRECTORY_EXPIRED`, `DIRECTORY_FULL`, `PROTOCOL_UNSUPPORTED`, or what a stream throws
   */
  async put(connection: OverlayConnection, signed: SignedEntry, signal: AbortSignal): Promise<boolean> {
    const answer = await this.#ask(connection, { put: signed }, putSchema, signal);
    if (!answer.ok) throw new MoatError(answer.code, answer.message);
    return answer.taken;
  }

  /**
   * One page of what the anchor at the other end knows. Shapes are checked, signatures are the caller's to verify.
   * @throws `PROTOCOL_UNSUPPORTED`, `CONTRACT_INVALID`, or what a stream throws
   */
  async list(connection: OverlayConnection, query: DirectoryQuery, signal: AbortSignal): Promise<DirectoryPage> {
    const answer = await this.#ask(connection, { list: query }, pageSchema, signal);
    if (!answer.ok) throw new MoatError(answer.code, answer.message);
    const { next, newest, instance } = answer;
    return { entries: answer.entries.map((entry) => parseSignedEntry(entry)), next, newest, instance };
  }

  async #ask<T>(connection: OverlayConnection, request: object, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> {
    const { clock, control, probation } = this.#deps;
    return probation.during(connection, async () => {
      using deadline = new Deadline(clock, EXCHANGE_MS, signal);
      const stream = await control.open(connection, DIRECTORY_PROTOCOL, deadline.signal);
      try {
        await stream.write(encodeJson(request), deadline.signal);
        await stream.close();
        return decodeJson(await stream.read(deadline.signal), schema);
      } catch (error) {
        stream.abort(error as Error);
        throw error;
      }
    });
  }

  async #serve(book: DirectoryBook, stream: MessageStream, connection: OverlayConnection): Promise<void> {
    const { clock } = this.#deps;
    using deadline = new Deadline(clock, EXCHANGE_MS, connection.closed);
    const { signal } = deadline;
    const waitMs = connection.requests.take(COST);
    if (waitMs > 0) await sleep(clock, waitMs, signal);
    const bytes = await this.#intake.read(stream, connection.origin, () => stream.read(signal));
    const answer = await this.#intake.work(() => Promise.resolve(this.#answer(book, connection, bytes)));
    await stream.write(encodeJson(answer), signal);
  }

  #answer(book: DirectoryBook, { peer, origin }: OverlayConnection, bytes: Uint8Array): object {
    try {
      const request = decodeJson(bytes, requestSchema);
      if ('list' in request) return { ok: true, ...book.list(request.list) };
      return { ok: true, taken: book.put(parseSignedEntry(request.put), origin) };
    } catch (error) {
      this.#deps.logger.debug({ peer, code: errorCode(error) }, 'request to the directory refused');
      if (isMoatError(error)) return { ok: false, code: error.code, message: error.message.slice(0, 500) };
      return { ok: false, code: 'DIRECTORY_FAILED', message: 'the anchor could not keep the entry' };
    }
  }
}
