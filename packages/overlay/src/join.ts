/**
 * `/moat/join/1`: a machine sends claim and details to a keeper, which witnesses the claim and sends back all
 * it takes to take part. Unknown deployments, invites and PeerIds get one answer of one size, not before
 * {@link REFUSAL_MS} have passed, so that neither its bytes nor its time tell what the keeper knows.
 */
import { errorCode, sleep, type Clock, type Logger, type MessageStream } from '@moat/core';
import {
  parseClaimDetails,
  parseHeadProof,
  parseMemberClaim,
  parseSignedClaim,
  type MemberClaim,
} from '@moat/contract';
import { z } from 'zod';
import type { OverlayConnection } from './connection.ts';
import type { Control } from './control.ts';
import { Deadline } from './deadline.ts';
import type { DeploymentView, JoinAnswer, JoinRequest } from './deployment-view.ts';
import { Intake } from './intake.ts';
import { decodeJson, encodeJson, invalid, parsed, readParts, writeParts } from './messages.ts';
import type { Probation } from './probation.ts';

export const JOIN_PROTOCOL = '/moat/join/1';
const JOIN_MS = 20_000;
/** Milliseconds after the request at which every refusal leaves. */
export const REFUSAL_MS = 250;
/** Bytes of a refusal, filled up with spaces. */
const REFUSAL_BYTES = 512;
/** A contract of 1 MiB as a JSON string, and every claim of a large deployment. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024;
const INTAKE = { reading: 256, readingPerOrigin: 16, working: 32 };
/** Requests that one join counts as. */
const JOIN_COST = 5;

const requestSchema = z.strictObject({ signed: z.unknown(), details: z.unknown() });
const answerSchema = z.discriminatedUnion('ok', [
  z.strictObject({
    ok: z.literal(true),
    claim: z.unknown(),
    proof: z.unknown(),
    contract: z.string().max(2 * 1024 * 1024),
    claims: z.array(z.unknown()).max(20_000),
  }),
  z.strictObject({
    ok: z.literal(false),
    code: z.string().regex(/^[A-Z][A-Z0-9_]{1,63}$/),
    message: z.string().max(300),
  }),
]);

const REFUSED: JoinAnswer = {
  ok: false,
  code: 'JOIN_REFUSED',
  message: 'this keeper does not know the deployment, the invite or the machine',
};

export interface JoinDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly self: string;
  readonly control: Control;
  readonly probation: Probation;
  readonly deployments: DeploymentView;
  /** A claim was witnessed here: everyone else has to hear of it. */
  readonly onWitnessed: (claim: MemberClaim) => void;
}

export class Join {
  readonly #deps: JoinDeps;
  readonly #intake = new Intake(INTAKE);

  constructor(deps: JoinDeps) {
    this.#deps = deps;
  }

  /** Serves anyone while this machine keeps a deployment; elsewhere the protocol is for nobody. */
  serve(): void {
    this.#deps.control.handle(
      JOIN_PROTOCOL,
      (stream, connection) => this.#serve(stream, connection),
      () => this.#isKeeper(),
      2,
    );
  }

  /** @throws what a stream throws, `MESSAGE_INVALID` for an answer that is none. */
  async request(connection: OverlayConnection, request: JoinRequest, signal: AbortSignal): Promise<JoinAnswer> {
    const { clock, control, probation } = this.#deps;
    return probation.during(connection, async () => {
      using deadline = new Deadline(clock, JOIN_MS, signal);
      const stream = await control.open(connection, JOIN_PROTOCOL, deadline.signal);
      try {
        await stream.write(encodeJson(request), deadline.signal);
        await stream.close();
        return decodeAnswer(await readParts(stream, MAX_ANSWER_BYTES, deadline.signal));
      } catch (error) {
        stream.abort(error as Error);
        throw error;
      }
    });
  }

  async #serve(stream: MessageStream, connection: OverlayConnection): Promise<void> {
    if (!this.#isKeeper()) throw invalid('this machine keeps no deployment');
    const { clock, probation } = this.#deps;
    using deadline = new Deadline(clock, JOIN_MS, connection.closed);
    const { signal } = deadline;
    const waitMs = connection.requests.take(JOIN_COST);
    if (waitMs > 0) await sleep(clock, waitMs, signal);
    const bytes = await this.#intake.read(stream, connection.origin, () => stream.read(signal));
    const request = decodeRequest(bytes);
    const release = probation.hold(connection);
    try {
      const refusalTime = sleep(clock, REFUSAL_MS, signal);
      refusalTime.catch(() => undefined);
      const answer = await this.#intake.work(() => this.#witness(request, connection));
      if (!answer.ok && answer.code === 'JOIN_REFUSED') await refusalTime;
      if (answer.ok) this.#deps.onWitnessed(answer.claim);
      // the claim lists the machine now; once it has stored the answer, hello admits it
      await writeParts(stream, encodeAnswer(answer), MAX_ANSWER_BYTES, signal);
    } finally {
      release();
    }
  }

  async #witness(request: JoinRequest, connection: OverlayConnection): Promise<JoinAnswer> {
    // the connection proves the PeerId; a claim for another machine is nobody's to bring
    if (request.signed.claim.node !== connection.peer) return REFUSED;
    try {
      const answer = await this.#deps.deployments.witness(request, connection.peer);
      return !answer.ok && answer.code === 'JOIN_REFUSED' ? REFUSED : answer;
    } catch (error) {
      this.#deps.logger.warn({ peer: connection.peer, code: errorCode(error), err: error }, 'claim not witnessed');
      return REFUSED;
    }
  }

  #isKeeper(): boolean {
    const { deployments, self } = this.#deps;
    return deployments
      .deployments()
      .some((deployment) => deployments.members(deployment).some(({ peer, keeper }) => keeper && peer === self));
  }
}

function decodeRequest(bytes: Uint8Array): JoinRequest {
  const { signed, details } = decodeJson(bytes, requestSchema);
  return { signed: parsed(parseSignedClaim, signed), details: parsed(parseClaimDetails, details) };
}

function encodeAnswer(answer: JoinAnswer): Uint8Array {
  if (answer.ok) return encodeJson({ ...answer, contract: Buffer.from(answer.contract).toString('utf8') });
  const text = encodeJson({ ok: false, code: answer.code, message: answer.message.slice(0, 300) });
  const bytes = new Uint8Array(Math.max(REFUSAL_BYTES, text.length)).fill(0x20);
  bytes.set(text);
  return bytes;
}

function decodeAnswer(bytes: Uint8Array): JoinAnswer {
  const answer = decodeJson(bytes, answerSchema);
  if (!answer.ok) return answer;
  return {
    ok: true,
    claim: parsed(parseMemberClaim, answer.claim),
    proof: parsed(parseHeadProof, answer.proof),
    contract: Buffer.from(answer.contract, 'utf8'),
    claims: answer.claims.map((claim) => parsed(parseMemberClaim, claim)),
  };
}
