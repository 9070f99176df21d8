/**
 * `/moat/join/1`: a machine sends claim and details to a keeper, which witnesses the claim and sends back all
 * it takes to take part. Or it sends an owner's proof for this connection, which admits it as that owner's. Unknown deployments, invites and PeerIds get one answer of one size, not before
 * {@link REFUSAL_MS} have passed, so that neither its bytes nor its time tell what the keeper knows.
 */
import { errorCode, sleep, type Clock, type Logger, type MessageStream, type OwnerKey } from '@moat/core';
import {
  parseClaimDetails,
  parseHeadProof,
  parseMemberClaim,
  parseSignedClaim,
  parseSignedOwnerProof,
  type MemberClaim,
  type SignedOwnerProof,
} from '@moat/contract';
import { z } from 'zod';
import type { OverlayConnection } from './connection.ts';
import type { Control } from './control.ts';
import { Deadline } from './deadline.ts';
import type { DeploymentView, JoinAnswer, JoinRequest } from './deployment-view.ts';
import { Intake } from './intake.ts';
import { decodeJson, encodeJson, invalid, parsed, readParts, writeParts } from './messages.ts';
import { ownerReason, type Owners } from './owners.ts';
import type { OwnersView, Snapshot } from './owners-view.ts';
import type { Probation } from './probation.ts';
import { snapshotFromWire, snapshotSchema, snapshotToWire } from './snapshot.ts';

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

const requestSchema = z.union([
  z.strictObject({ signed: z.unknown(), details: z.unknown() }),
  z.strictObject({ owner: z.unknown() }),
]);
const refusalSchema = z.strictObject({
  ok: z.literal(false),
  code: z.string().regex(/^[A-Z][A-Z0-9_]{1,63}$/),
  message: z.string().max(300),
});
const answerSchema = z.discriminatedUnion('ok', [
  z.strictObject({
    ok: z.literal(true),
    claim: z.unknown(),
    proof: z.unknown(),
    contract: z.string().max(2 * 1024 * 1024),
    claims: z.array(z.unknown()).max(20_000),
  }),
  refusalSchema,
]);
const ownerAnswerSchema = z.discriminatedUnion('ok', [
  z.strictObject({ ok: z.literal(true), owner: z.string().max(100), snapshot: snapshotSchema }),
  refusalSchema,
]);

/** What a keeper says to an owner's proof. */
export type OwnerAnswer =
  | { readonly ok: true; readonly owner: OwnerKey; readonly snapshot: Snapshot }
  | { readonly ok: false; readonly code: string; readonly message: string };

const REFUSED: JoinAnswer & { readonly ok: false } = {
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
  readonly owners: OwnersView;
  /** Who proved itself on which connection. */
  readonly proved: Owners;
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
    return this.#deps.probation.during(connection, async () =>
      decodeAnswer(await this.#ask(connection, request, signal)),
    );
  }

  /** Shows an owner's proof for this very connection; `ok` admits it on both sides. @throws as {@link Join.request} */
  async requestOwner(
    connection: OverlayConnection,
    owner: SignedOwnerProof,
    signal: AbortSignal,
  ): Promise<OwnerAnswer> {
    const { probation } = this.#deps;
    return probation.during(connection, async () => {
      const answer = decodeJson(await this.#ask(connection, { owner }, signal), ownerAnswerSchema);
      if (!answer.ok) return answer;
      const snapshot = snapshotFromWire(answer.snapshot);
      probation.admit(connection, ownerReason(owner.proof.deployment));
      return { ok: true, owner: answer.owner, snapshot };
    });
  }

  async #ask(connection: OverlayConnection, request: object, signal: AbortSignal): Promise<Uint8Array> {
    const { clock, control } = this.#deps;
    using deadline = new Deadline(clock, JOIN_MS, signal);
    const stream = await control.open(connection, JOIN_PROTOCOL, deadline.signal);
    try {
      await stream.write(encodeJson(request), deadline.signal);
      await stream.close();
      return await readParts(stream, MAX_ANSWER_BYTES, deadline.signal);
    } catch (error) {
      stream.abort(error as Error);
      throw error;
    }
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
      const answer = await this.#intake.work<JoinAnswer | OwnerAnswer>(() =>
        'proof' in request ? this.#admitOwner(request, connection) : this.#witness(request, connection),
      );
      if (!answer.ok && answer.code === 'JOIN_REFUSED') await refusalTime;
      if (answer.ok && 'claim' in answer) this.#deps.onWitnessed(answer.claim);
      // the claim lists the machine now; once it has stored the answer, hello admits it
      await writeParts(stream, encodeAnswer(answer), MAX_ANSWER_BYTES, signal);
    } finally {
      release();
    }
  }

  async #admitOwner(signed: SignedOwnerProof, connection: OverlayConnection): Promise<OwnerAnswer> {
    const { logger, owners, proved } = this.#deps;
    try {
      const owner = await proved.prove(connection, signed);
      if (owner !== null) return { ok: true, owner, snapshot: owners.snapshot(signed.proof.deployment) };
    } catch (error) {
      logger.warn({ peer: connection.peer, code: errorCode(error), err: error }, 'owner not admitted');
    }
    return REFUSED;
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

function decodeRequest(bytes: Uint8Array): JoinRequest | SignedOwnerProof {
  const request = decodeJson(bytes, requestSchema);
  if ('owner' in request) return parsed(parseSignedOwnerProof, request.owner);
  const { signed, details } = request;
  return { signed: parsed(parseSignedClaim, signed), details: parsed(parseClaimDetails, details) };
}

function encodeAnswer(answer: JoinAnswer | OwnerAnswer): Uint8Array {
  if (answer.ok && 'owner' in answer) {
    return encodeJson({ ok: true, owner: answer.owner, snapshot: snapshotToWire(answer.snapshot) });
  }
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
