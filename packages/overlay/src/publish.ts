/**
 * `/moat/publish/1`: a member shows a gateway genesis, successions, head, publications and claims in one
 * bundle, in parts; the gateway answers which names it serves. A newer bundle replaces the older whole.
 * Or a machine hands in an invite code of the operator for a deployment, which admits it to nothing else; or asks what became
 * of the certificates of names that it serves.
 */
import {
  MoatError,
  errorCode,
  isDeploymentId,
  isMoatError,
  sleep,
  type Clock,
  type DeploymentId,
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
/** A bundle of 1 MiB and what is around it. */
const MAX_REQUEST_BYTES = 1024 * 1024 + 64;
const MAX_ANSWER_BYTES = 256 * 1024;
const INTAKE = { reading: 64, readingPerOrigin: 16, working: 64 };
/** Requests that one bundle counts as. */
const PUBLISH_COST = 5;
const MAX_CODE_LENGTH = 128;

/** Why a connection stays: this deployment is served over it. */
export function publicationReason(deployment: DeploymentId): string {
  return `publication ${deployment}`;
}

const text = z.string().max(500);
const certificateSchema = z.strictObject({
  host: text,
  state: z.enum(['valid', 'expired', 'ordering', 'waiting']),
  issuer: text.nullable(),
  notAfter: text.nullable(),
  next: text.nullable(),
  problem: z.strictObject({ code: text, message: text }).nullable(),
});
const answerSchema = z.discriminatedUnion('ok', [
  z.strictObject({
    ok: z.literal(true),
    names: z.array(z.strictObject({ name: text, host: text, url: text })).max(1000),
    refused: z.array(z.strictObject({ name: text, code: text, message: text })).max(1000),
    certificates: z.array(certificateSchema).max(1000).optional(),
  }),
  z.strictObject({ ok: z.literal(false), code: text, message: text }),
]);

/** What a gateway says of the certificate that a name is served with. Times are RFC 3339. */
export interface PublishedCertificate {
  readonly host: string;
  /** `ordering` and `waiting` (for the next try): there is none yet. */
  readonly state: 'valid' | 'expired' | 'ordering' | 'waiting';
  readonly issuer: string | null;
  readonly notAfter: string | null;
  /** When it is renewed, or obtained, or tried again. */
  readonly next: string | null;
  readonly problem: { readonly code: string; readonly message: string } | null;
}

/** What a gateway says to a bundle: which names it serves now, and which it refused. */
export type PublishAnswer =
  | {
      readonly ok: true;
      readonly names: readonly { readonly name: string; readonly host: string; readonly url: string }[];
      readonly refused: readonly { readonly name: string; readonly code: string; readonly message: string }[];
      /** Only to who asked for them. */
      readonly certificates?: readonly PublishedCertificate[] | undefined;
    }
  | { readonly ok: false; readonly code: string; readonly message: string };

const requestSchema = z.union([
  z.strictObject({ bundle: z.unknown() }),
  z.strictObject({
    redeem: z.strictObject({
      deployment: z.string().refine(isDeploymentId),
      code: z.string().min(1).max(MAX_CODE_LENGTH),
    }),
  }),
  z.strictObject({ certificates: z.string().refine(isDeploymentId) }),
]);

/** An operator's invite code, to be spent on a deployment. */
export interface Redemption {
  readonly deployment: DeploymentId;
  /** A secret: never logged. */
  readonly code: string;
}

/**
 * The gateway's side; an `ok` answer with names admits the connection, one without ends that; a rejection
 * reaches the member as `PUBLISH_FAILED`.
 */
export type PublishHandler = (
  peer: PeerId,
  connection: PeerConnection,
  bundle: PublicationBundle,
) => Promise<PublishAnswer>;

/** The gateway's side of a redemption; its answer names nothing. */
export type RedeemHandler = (
  peer: PeerId,
  connection: PeerConnection,
  redemption: Redemption,
) => Promise<PublishAnswer>;

/** The gateway's side of the question after certificates; empty for who serves nothing of the deployment. */
export type CertificatesHandler = (peer: PeerId, deployment: DeploymentId) => readonly PublishedCertificate[];

export interface PublishHandlers {
  readonly publish: PublishHandler;
  /** Absent: no code is taken. */
  readonly redeem?: RedeemHandler | undefined;
  /** Absent: nothing is said about them. */
  readonly certificates?: CertificatesHandler | undefined;
}

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

  serve(handlers: PublishHandlers): void {
    this.#deps.control.handle(
      PUBLISH_PROTOCOL,
      (stream, connection) => this.#serve(handlers, stream, connection),
      'anyone',
      2,
    );
  }

  async send(connection: OverlayConnection, bundle: PublicationBundle, signal: AbortSignal): Promise<PublishAnswer> {
    const { probation } = this.#deps;
    return probation.during(connection, async () => {
      const answer = await this.#ask(connection, { bundle }, signal);
      if (answer.ok) decide(probation, connection, publicationReason(bundle.proof.newest.head.deployment), answer);
      return answer;
    });
  }

  /** Hands in an invite code; no admission comes of it. */
  async redeem(connection: OverlayConnection, redeem: Redemption, signal: AbortSignal): Promise<PublishAnswer> {
    return this.#deps.probation.during(connection, () => this.#ask(connection, { redeem }, signal));
  }

  /** Asks what became of a deployment's certificates; no admission comes of it. */
  async certificates(
    connection: OverlayConnection,
    certificates: DeploymentId,
    signal: AbortSignal,
  ): Promise<PublishAnswer> {
    return this.#deps.probation.during(connection, () => this.#ask(connection, { certificates }, signal));
  }

  async #ask(connection: OverlayConnection, request: object, signal: AbortSignal): Promise<PublishAnswer> {
    const { clock, control } = this.#deps;
    using deadline = new Deadline(clock, PUBLISH_MS, signal);
    const stream = await control.open(connection, PUBLISH_PROTOCOL, deadline.signal);
    try {
      await writeParts(stream, encodeJson(request), MAX_REQUEST_BYTES, deadline.signal);
      await stream.close();
      return decodeJson(await readParts(stream, MAX_ANSWER_BYTES, deadline.signal), answerSchema);
    } catch (error) {
      stream.abort(error as Error);
      throw error;
    }
  }

  async #serve(handlers: PublishHandlers, stream: MessageStream, connection: OverlayConnection): Promise<void> {
    const { clock, probation } = this.#deps;
    using deadline = new Deadline(clock, PUBLISH_MS, connection.closed);
    const { signal } = deadline;
    const waitMs = connection.requests.take(PUBLISH_COST);
    if (waitMs > 0) await sleep(clock, waitMs, signal);
    const read = (): Promise<Uint8Array> => readParts(stream, MAX_REQUEST_BYTES, signal);
    const bytes = await this.#intake.read(stream, connection.origin, read);
    const release = probation.hold(connection);
    try {
      const { answer, reason } = await this.#intake.work(() => this.#answer(handlers, connection, bytes));
      // Decided first: links may be opened as soon as the answer is read.
      if (reason !== undefined) decide(probation, connection, reason, answer);
      await writeParts(stream, encodeJson(answer), MAX_ANSWER_BYTES, signal);
    } finally {
      release();
    }
  }

  async #answer(
    { publish, redeem, certificates }: PublishHandlers,
    connection: OverlayConnection,
    bytes: Uint8Array,
  ): Promise<{ readonly answer: PublishAnswer; readonly reason?: string }> {
    try {
      const request = decodeJson(bytes, requestSchema);
      if ('redeem' in request) {
        if (redeem === undefined) throw new MoatError('PROTOCOL_UNSUPPORTED', 'this machine takes no invite codes');
        return { answer: await redeem(connection.peer, connection, request.redeem) };
      }
      if ('certificates' in request) {
        const states = certificates?.(connection.peer, request.certificates) ?? [];
        return { answer: { ok: true, names: [], refused: [], certificates: states } };
      }
      const bundle = parsePublicationBundle(request.bundle);
      const answer = await publish(connection.peer, connection, bundle);
      return { answer, reason: publicationReason(bundle.proof.newest.head.deployment) };
    } catch (error) {
      this.#deps.logger.warn(
        { peer: connection.peer, code: errorCode(error), err: error },
        'publication not processed',
      );
      if (isMoatError(error)) return { answer: { ok: false, code: error.code, message: error.message.slice(0, 500) } };
      const message = 'the gateway could not process the publication';
      return { answer: { ok: false, code: 'PUBLISH_FAILED', message } };
    }
  }
}

/** What is served keeps the connection; a refusal may pass and changes nothing. */
function decide(probation: Probation, connection: OverlayConnection, reason: string, answer: PublishAnswer): void {
  if (!answer.ok) return;
  if (answer.names.length > 0) return probation.admit(connection, reason);
  for (const other of probation.ofPeer(connection.peer)) probation.lapse(other, reason);
}
