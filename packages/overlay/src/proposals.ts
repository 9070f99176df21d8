/**
 * `/moat/proposals/1`: owners at work, at a keeper of the deployment. One stream is one of
 *   list     the proposals that wait here
 *   get      one of them, whole, in parts
 *   put      a proposal, or a known one with more signatures, in parts; the keeper applies it once a quorum signed
 *   take     a version that a quorum has signed, with its proof, in parts; a keeper takes one head a version
 *   pull     the deployment as it is: proof, contract, claims, keepers
 * `take` is for members, proved owners and fellow keepers; the rest for the last two. Everybody else, and who asks for
 * a deployment that is not kept here, gets one refusal. A body is sent only after the keeper agreed to read it.
 */
import {
  MoatError,
  errorCode,
  isMoatError,
  sleep,
  type Clock,
  type DeploymentId,
  type Hash,
  type Logger,
  type MessageStream,
  type PeerId,
} from '@moat/core';
import { parseHeadProof, parseProposal, type Proposal } from '@moat/contract';
import { z } from 'zod';
import type { OverlayConnection } from './connection.ts';
import type { Control } from './control.ts';
import { Deadline } from './deadline.ts';
import type { DeploymentView } from './deployment-view.ts';
import { Intake } from './intake.ts';
import { decodeJson, encodeJson, invalid, parsed, readParts, writeParts } from './messages.ts';
import { PROPOSALS_PROTOCOL, type Owners } from './owners.ts';
import type { OwnersView, ProposalReport, PutAnswer, ShownVersion, Snapshot, TakeAnswer } from './owners-view.ts';
import type { Probation } from './probation.ts';
import { MAX_SNAPSHOT_BYTES, snapshotFromWire, snapshotSchema, snapshotToWire } from './snapshot.ts';

/** A keeper that was asked may have to ask another one first. */
const ANSWER_MS = 45_000;
const READ_MS = 20_000;
/** A proposal of 1 MiB, or a contract of 1 MiB as a JSON string with its proof. */
const MAX_BODY_BYTES = 3 * 1024 * 1024;
/** Bodies being read and requests being worked on at once; the oldest still being read gives way. */
const INTAKE = { reading: 32, readingPerOrigin: 4, working: 16 };
/** Requests that a stream counts as, and besides that a body, whose signatures are verified. */
const REQUEST_COST = 2;
const BODY_COST = 5;
/** Bytes of a body or an answer that count as one request. */
const BYTES_PER_REQUEST = 64 * 1024;

const deploymentSchema = z.string().regex(/^[a-z2-7]{26}$/);
const hashSchema = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const requestSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('list'), deployment: deploymentSchema }),
  z.strictObject({ kind: z.literal('get'), deployment: deploymentSchema, id: hashSchema }),
  z.strictObject({ kind: z.literal('put'), deployment: deploymentSchema }),
  z.strictObject({ kind: z.literal('take'), deployment: deploymentSchema }),
  z.strictObject({ kind: z.literal('pull'), deployment: deploymentSchema }),
]);
type Request = z.infer<typeof requestSchema>;

const takeSchema = z.strictObject({ proof: z.unknown(), contract: z.string().max(2 * 1024 * 1024) });
const refusalSchema = z.strictObject({
  ok: z.literal(false),
  code: z.string().regex(/^[A-Z][A-Z0-9_]{1,63}$/),
  message: z.string().max(300),
});
const readySchema = z.union([z.strictObject({ ready: z.literal(true) }), refusalSchema]);
const count = z.int().min(0);
const keys = z.array(z.string().max(100)).max(128);
const reportSchema = z.strictObject({
  id: hashSchema,
  version: count,
  previous: hashSchema,
  state: z.enum(['open', 'met', 'stale']),
  signers: keys,
  missing: keys,
  weight: count,
  threshold: count,
  newOwners: z.strictObject({ met: z.boolean(), weight: count, threshold: count }).nullable(),
  bytes: count,
  receivedAt: z.number(),
});

const answerSchemas = {
  list: z.strictObject({ ok: z.literal(true), proposals: z.array(reportSchema).max(64) }),
  get: z.strictObject({ ok: z.literal(true), report: reportSchema, proposal: z.unknown() }),
  put: z.strictObject({
    ok: z.literal(true),
    report: reportSchema,
    changed: z.boolean(),
    applied: z.boolean(),
    snapshot: snapshotSchema.optional(),
  }),
  take: z.union([
    z.strictObject({ ok: z.literal(true), taken: z.literal(true), keeper: z.string().max(100) }),
    z.strictObject({ ok: z.literal(true), taken: z.literal(false), proof: z.unknown() }),
  ]),
  pull: z.strictObject({ ok: z.literal(true), snapshot: snapshotSchema }),
} as const;

export interface ProposalsDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly control: Control;
  readonly probation: Probation;
  readonly deployments: DeploymentView;
  readonly owners: OwnersView;
  /** Who proved itself on which connection. */
  readonly proved: Owners;
}

/** Every method throws the keeper's own code, `PROPOSALS_REFUSED`, or what a stream throws. */
export class Proposals {
  readonly #deps: ProposalsDeps;
  readonly #intake = new Intake(INTAKE);

  constructor(deps: ProposalsDeps) {
    this.#deps = deps;
  }

  /** Serves admitted peers, and members that are about to be: they may have read our hello before we read theirs. */
  serve(): void {
    const { control, deployments } = this.#deps;
    control.handle(
      PROPOSALS_PROTOCOL,
      (stream, connection) => this.#serve(stream, connection),
      (connection) => deployments.sharedWith(connection.peer).length > 0,
      4,
    );
  }

  async list(
    connection: OverlayConnection,
    deployment: DeploymentId,
    signal: AbortSignal,
  ): Promise<readonly ProposalReport[]> {
    return (await this.#ask(connection, { kind: 'list', deployment }, undefined, answerSchemas.list, signal)).proposals;
  }

  async get(
    connection: OverlayConnection,
    deployment: DeploymentId,
    id: Hash,
    signal: AbortSignal,
  ): Promise<{ readonly report: ProposalReport; readonly proposal: Proposal }> {
    const answer = await this.#ask(connection, { kind: 'get', deployment, id }, undefined, answerSchemas.get, signal);
    return { report: answer.report, proposal: parsed(parseProposal, answer.proposal) };
  }

  async put(
    connection: OverlayConnection,
    deployment: DeploymentId,
    proposal: Proposal,
    signal: AbortSignal,
  ): Promise<PutAnswer> {
    const request = { kind: 'put', deployment } as const;
    const { report, changed, applied, snapshot } = await this.#ask(
      connection,
      request,
      encodeJson(proposal),
      answerSchemas.put,
      signal,
    );
    return { report, changed, applied, ...(snapshot === undefined ? {} : { snapshot: snapshotFromWire(snapshot) }) };
  }

  async take(
    connection: OverlayConnection,
    deployment: DeploymentId,
    { proof, contract }: ShownVersion,
    signal: AbortSignal,
  ): Promise<TakeAnswer> {
    const body = encodeJson({ proof, contract: Buffer.from(contract).toString('utf8') });
    const answer = await this.#ask(connection, { kind: 'take', deployment }, body, answerSchemas.take, signal);
    if (answer.taken) return { taken: true, keeper: answer.keeper };
    return { taken: false, proof: parsed(parseHeadProof, answer.proof) };
  }

  async pull(connection: OverlayConnection, deployment: DeploymentId, signal: AbortSignal): Promise<Snapshot> {
    const answer = await this.#ask(connection, { kind: 'pull', deployment }, undefined, answerSchemas.pull, signal);
    return snapshotFromWire(answer.snapshot);
  }

  async #ask<T extends { readonly ok: true }>(
    connection: OverlayConnection,
    request: Request,
    body: Uint8Array | undefined,
    schema: z.ZodType<T>,
    signal: AbortSignal,
  ): Promise<T> {
    using deadline = new Deadline(this.#deps.clock, ANSWER_MS, signal);
    const stream = await this.#deps.control.open(connection, PROPOSALS_PROTOCOL, deadline.signal);
    try {
      await stream.write(encodeJson(request), deadline.signal);
      if (body !== undefined) {
        const ready = decodeJson(await stream.read(deadline.signal), readySchema);
        if ('ok' in ready) throw refusalOf(ready);
        await writeParts(stream, body, MAX_BODY_BYTES, deadline.signal);
      }
      await stream.close();
      const bytes = await readParts(stream, MAX_SNAPSHOT_BYTES, deadline.signal);
      const answer = decodeJson<T | z.infer<typeof refusalSchema>>(bytes, z.union([schema, refusalSchema]));
      if (!answer.ok) throw refusalOf(answer);
      return answer;
    } catch (error) {
      stream.abort(error as Error);
      throw error;
    }
  }

  async #serve(stream: MessageStream, connection: OverlayConnection): Promise<void> {
    using deadline = new Deadline(this.#deps.clock, ANSWER_MS, connection.closed);
    const { signal } = deadline;
    await this.#pay(connection, REQUEST_COST, signal);
    using opening = new Deadline(this.#deps.clock, READ_MS, signal);
    const request = decodeJson(await stream.read(opening.signal), requestSchema);
    const isWithBody = request.kind === 'put' || request.kind === 'take';
    if (!this.#isEntitled(connection, request)) {
      const refusal = encodeRefusal(refused());
      return isWithBody ? stream.write(refusal, signal) : writeParts(stream, refusal, MAX_SNAPSHOT_BYTES, signal);
    }
    const body = isWithBody ? await this.#readBody(stream, connection, opening.signal) : new Uint8Array(0);
    // What is asked may end the owner's reason to be connected: the answer leaves first.
    const release = this.#deps.probation.hold(connection);
    try {
      const answer = await this.#answer(request, body, connection.peer, signal);
      await this.#pay(connection, answer.length / BYTES_PER_REQUEST, signal);
      await writeParts(stream, answer, MAX_SNAPSHOT_BYTES, signal);
    } finally {
      release();
    }
  }

  async #readBody(stream: MessageStream, connection: OverlayConnection, signal: AbortSignal): Promise<Uint8Array> {
    const body = await this.#intake.read(stream, connection.origin, async () => {
      await stream.write(encodeJson({ ready: true }), signal);
      return readParts(stream, MAX_BODY_BYTES, signal);
    });
    await this.#pay(connection, BODY_COST + body.length / BYTES_PER_REQUEST, signal);
    return body;
  }

  async #answer(request: Request, body: Uint8Array, from: PeerId, signal: AbortSignal): Promise<Uint8Array> {
    try {
      const answer = await this.#intake.work(() => this.#work(request, body, from, signal));
      return encodeJson({ ok: true, ...answer });
    } catch (error) {
      const { deployment } = request;
      const fields = { peer: from, deployment, protocol: PROPOSALS_PROTOCOL, code: errorCode(error) };
      this.#deps.logger.info({ ...fields, err: error }, 'owner refused');
      if (isMoatError(error)) return encodeRefusal(error);
      throw error;
    }
  }

  async #work(request: Request, body: Uint8Array, from: PeerId, signal: AbortSignal): Promise<object> {
    const { owners } = this.#deps;
    const { kind, deployment } = request;
    switch (kind) {
      case 'list':
        return { proposals: owners.proposals(deployment) };
      case 'get':
        return owners.proposal(deployment, request.id);
      case 'put': {
        const outcome = await owners.put(deployment, parsed(parseProposal, body), from, signal);
        if (!outcome.applied || !owners.keeps(deployment)) return outcome;
        return { ...outcome, snapshot: snapshotToWire(owners.snapshot(deployment)) };
      }
      case 'take':
        return owners.take(deployment, decodeVersion(body), from, signal);
      case 'pull':
      default:
        return { snapshot: snapshotToWire(owners.snapshot(deployment)) };
    }
  }

  #isEntitled(connection: OverlayConnection, { kind, deployment }: Request): boolean {
    const { owners, proved, deployments } = this.#deps;
    if (!owners.keeps(deployment)) return false;
    if (proved.admitted(connection, deployment) || owners.isFellowKeeper(deployment, connection.peer)) return true;
    return kind === 'take' && deployments.sharedWith(connection.peer).includes(deployment);
  }

  async #pay(connection: OverlayConnection, requests: number, signal: AbortSignal): Promise<void> {
    const waitMs = connection.requests.take(requests);
    if (waitMs > 0) await sleep(this.#deps.clock, waitMs, signal);
  }
}

/** @throws `MESSAGE_INVALID` */
function decodeVersion(bytes: Uint8Array): ShownVersion {
  const { proof, contract } = decodeJson(bytes, takeSchema);
  return { proof: parsed(parseHeadProof, proof), contract: Buffer.from(contract, 'utf8') };
}

function encodeRefusal({ code, message }: MoatError): Uint8Array {
  return encodeJson({ ok: false, code, message: message.slice(0, 300) });
}

/** The keeper's words are shown to a person: nothing but what prints. */
function refusalOf({ code, message }: z.infer<typeof refusalSchema>): MoatError {
  if (!/^[\P{C}]*$/u.test(message)) throw invalid('a message with control characters');
  return new MoatError(code, message);
}

function refused(): MoatError<'PROPOSALS_REFUSED'> {
  return new MoatError('PROPOSALS_REFUSED', 'this keeper knows no such deployment, or you as no owner of it');
}
