/**
 * `/moat/publish/1`: a member shows a gateway genesis, successions, head, publications and claims in one
 * bundle, in parts; the gateway answers which names it serves. A newer bundle replaces the older whole.
 */
import {
  errorCode,
  isMoatError,
  sleep,
  type Clock,
  type Logger,
  type MessageStream,
  type PeerConnection,
  type PeerId,
} from '@moat/core';
import { parsePublicationBundle, type PublicationBundle } from '@moat/contract';
import { z } from 'zod';
import type { OverlayConnection } from './connection.ts';
import type { Control } from './control.ts';
import { Deadline } from './deadline.ts';
import { Intake } from './intake.ts';
import { decodeJson, encodeJson, readParts, writeParts } from './messages.ts';
import type { Probation } from './probation.ts';

export const PUBLISH_PROTOCOL = '/moat/publish/1';
const PUBLISH_MS = 20_000;
const MAX_BUNDLE_BYTES = 1024 * 1024;
const MAX_ANSWER_BYTES = 256 * 1024;
const INTAKE = { reading: 64, readingPerOrigin: 16, working: 64 };
/** Requests that one bundle counts as. */
const PUBLISH_COST = 5;
const REASON = 'publication';

const text = z.string().max(500);
const answerSchema = z.discriminatedUnion('ok', [
  z.strictObject({
    ok: z.literal(true),
    names: z.array(z.strictObject({ name: text, host: text, url: text })).max(1000),
    refused: z.array(z.strictObject({ name: text, code: text, message: text })).max(1000),
  }),
  z.strictObject({ ok: z.literal(false), code: text, message: text }),
]);

/** What a gateway says to a bundle: which names it serves now, and which it refused. */
export type PublishAnswer =
  | {
      readonly ok: true;
      readonly names: readonly { readonly name: string; readonly host: string; readonly url: string }[];
      readonly refused: readonly { readonly name: string; readonly code: string; readonly message: string }[];
    }
  | { readonly ok: false; readonly code: string; readonly message: string };

/** The gateway's side; an `ok` answer admits the connection, a rejection reaches the member as `PUBLISH_FAILED`. */
export type PublishHandler = (
  peer: PeerId,
  connection: PeerConnection,
  bundle: PublicationBundle,
) => Promise<PublishAnswer>;

export interface PublishDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly control: Control;
  readonly probation: Probation;
}

export class Publish {
  readonly #deps: PublishDeps;
  readonly #intake = new Intake(INTAKE);

  constructor(deps: PublishDeps) {
    this.#deps = deps;
  }

  serve(handler: PublishHandler): void {
    this.#deps.control.handle(
      PUBLISH_PROTOCOL,
      (stream, connection) => this.#serve(handler, stream, connection),
      'anyone',
      2,
    );
  }

  async send(connection: OverlayConnection, bundle: PublicationBundle, signal: AbortSignal): Promise<PublishAnswer> {
    const { clock, control, probation } = this.#deps;
    return probation.during(connection, async () => {
      using deadline = new Deadline(clock, PUBLISH_MS, signal);
      const stream = await control.open(connection, PUBLISH_PROTOCOL, deadline.signal);
      try {
        await writeParts(stream, encodeJson(bundle), MAX_BUNDLE_BYTES, deadline.signal);
        await stream.close();
        const answer = decodeJson(await readParts(stream, MAX_ANSWER_BYTES, deadline.signal), answerSchema);
        if (answer.ok) probation.admit(connection, REASON);
        return answer;
      } catch (error) {
        stream.abort(error as Error);
        throw error;
      }
    });
  }

  async #serve(handler: PublishHandler, stream: MessageStream, connection: OverlayConnection): Promise<void> {
    const { clock, probation } = this.#deps;
    using deadline = new Deadline(clock, PUBLISH_MS, connection.closed);
    const { signal } = deadline;
    const waitMs = connection.requests.take(PUBLISH_COST);
    if (waitMs > 0) await sleep(clock, waitMs, signal);
    const read = (): Promise<Uint8Array> => readParts(stream, MAX_BUNDLE_BYTES, signal);
    const bytes = await this.#intake.read(stream, connection.origin, read);
    const release = probation.hold(connection);
    try {
      const answer = await this.#intake.work(() => this.#answer(handler, connection, bytes));
      // admitted first: links may be opened as soon as the answer is read
      if (answer.ok) probation.admit(connection, REASON);
      await writeParts(stream, encodeJson(answer), MAX_ANSWER_BYTES, signal);
    } finally {
      release();
    }
  }

  async #answer(handler: PublishHandler, connection: OverlayConnection, bytes: Uint8Array): Promise<PublishAnswer> {
    try {
      return await handler(connection.peer, connection, parsePublicationBundle(bytes));
    } catch (error) {
      this.#deps.logger.warn(
        { peer: connection.peer, code: errorCode(error), err: error },
        'publication not processed',
      );
      if (isMoatError(error)) return { ok: false, code: error.code, message: error.message.slice(0, 500) };
      return { ok: false, code: 'PUBLISH_FAILED', message: 'the gateway could not process the publication' };
    }
  }
}
