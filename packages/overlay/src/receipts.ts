/**
 * `/moat/receipts/1`: what members did with a version, as they signed it. One stream is one of
 *   tell     some receipts, unasked; no answer
 *   ask      what is known of one deployment, in parts; answered by its keepers, to members
 * A machine tells the keepers it is connected to what it did itself; keepers tell each other what is new. Nobody else is
 * told unasked: each version would cost as many messages as there are pairs of members.
 * Which receipts count is decided behind {@link OwnersView.acceptReceipt}.
 */
import {
  errorCode,
  sleep,
  type Clock,
  type DeploymentId,
  type Logger,
  type MessageStream,
  type PeerId,
} from '@moat/core';
import { parseSignedReceipt, type SignedReceipt } from '@moat/contract';
import { z } from 'zod';
import type { OverlayConnection } from './connection.ts';
import type { Control } from './control.ts';
import { Deadline } from './deadline.ts';
import type { DeploymentView } from './deployment-view.ts';
import { decodeJson, encodeJson, parsed, readParts, writeParts } from './messages.ts';
import type { OwnersView } from './owners-view.ts';
import { bestOfEach, type Probation } from './probation.ts';

export const RECEIPTS_PROTOCOL = '/moat/receipts/1';
const EXCHANGE_MS = 10_000;
/** Receipts of one message: all of them fit 64 KiB. */
const MAX_RECEIPTS = 64;
/** Receipts that count as one request. */
const RECEIPTS_PER_REQUEST = 16;
/** Bytes of an answer: the receipts of some 10,000 machines. */
const MAX_ANSWER_BYTES = 4 * 1024 * 1024;
/** Milliseconds that what others did waits for more of the same before keepers tell each other. */
const GATHER_MS = 250;
/**
 * All machines apply a version in the same second, and its keepers have work enough then: in networks of more than so
 * many, receipts leave spread over as many milliseconds for each machine above.
 */
const [AT_ONCE, SPREAD_MS, MAX_SPREAD_MS] = [64, 10, 5000];
/** Milliseconds for which an answer is as good as a new one. */
const ASKED_EVERY_MS = 2000;
/** Milliseconds for a keeper to answer what all did, and for all keepers together. */
const [ANSWER_MS, ANSWERS_MS] = [3000, 6000];
/** Milliseconds until what a peer did not take is offered again, and how often it is offered. */
const RETRY_MS = 2000;
const OFFERS = 3;
/** Receipts that may wait for one peer; more are dropped, the next connection brings them. */
const MAX_WAITING = 4096;

const messageSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('tell'), receipts: z.array(z.unknown()).max(MAX_RECEIPTS) }),
  z.strictObject({ kind: z.literal('ask'), deployment: z.string().regex(/^[a-z2-7]{26}$/) }),
]);
const answerSchema = z.strictObject({ receipts: z.array(z.unknown()) });

export interface ReceiptsDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly self: PeerId;
  readonly control: Control;
  readonly probation: Probation;
  readonly deployments: DeploymentView;
  readonly owners: OwnersView;
}

interface Waiting {
  /** The newest of each machine and deployment. */
  readonly receipts: Map<string, SignedReceipt>;
  sending: boolean;
}

/** Bound: {@link MAX_WAITING} receipts a connection, one of each machine and deployment. */
export class Receipts {
  readonly #deps: ReceiptsDeps;
  readonly #waiting = new Map<OverlayConnection, Waiting>();
  /** Bound: one a deployment held here. */
  readonly #asked = new Map<DeploymentId, { readonly at: number; readonly answer: Promise<void> }>();

  constructor(deps: ReceiptsDeps) {
    this.#deps = deps;
  }

  /** Serves admitted peers, and members that are about to be: they may have read our hello before we read theirs. */
  serve(): void {
    const { control, deployments } = this.#deps;
    control.handle(
      RECEIPTS_PROTOCOL,
      (stream, connection) => this.#serve(stream, connection),
      (connection) => deployments.sharedWith(connection.peer).length > 0,
      2,
    );
  }

  /** Tells the connected keepers what this machine did. */
  announce(receipt: SignedReceipt): void {
    const { deployment } = receipt.receipt;
    const delayMs = this.#spread(deployment);
    for (const connection of this.#keepersOf(deployment)) this.#send(connection, [receipt], delayMs);
  }

  /** Tells a newly connected keeper what this machine did, and all it knows where it keeps the deployment too. */
  greet(connection: OverlayConnection): void {
    const { deployments, owners, self } = this.#deps;
    for (const deployment of deployments.sharedWith(connection.peer)) {
      if (!owners.isKeeper(deployment, connection.peer)) continue;
      const known = owners.receipts(deployment);
      this.#send(connection, owners.keeps(deployment) ? known : known.filter(({ receipt }) => receipt.node === self));
    }
  }

  /**
   * Asks a connected keeper what all members did, unless that is known: this machine keeps the deployment, or has asked
   * a moment ago. Never rejects.
   */
  async ask(deployment: DeploymentId): Promise<void> {
    const { clock, owners } = this.#deps;
    if (owners.keeps(deployment)) return;
    const asked = this.#asked.get(deployment);
    if (asked !== undefined && Math.abs(clock.now() - asked.at) < ASKED_EVERY_MS) return asked.answer;
    const answer = this.#askKeepers(deployment);
    this.#asked.set(deployment, { at: clock.now(), answer });
    await answer;
  }

  forget(connection: OverlayConnection): void {
    this.#waiting.delete(connection);
  }

  async #serve(stream: MessageStream, connection: OverlayConnection): Promise<void> {
    const { clock } = this.#deps;
    using deadline = new Deadline(clock, EXCHANGE_MS, connection.closed);
    const request = decodeJson(await stream.read(deadline.signal), messageSchema);
    if (request.kind === 'ask') return this.#answer(stream, connection, request.deployment, deadline.signal);
    await this.#pay(connection, request.receipts.length, deadline.signal);
    const fresh = new Map<DeploymentId, SignedReceipt[]>();
    for (const receipt of this.#taken(connection, request.receipts)) {
      const { deployment } = receipt.receipt;
      fresh.set(deployment, [...(fresh.get(deployment) ?? []), receipt]);
    }
    for (const [deployment, receipts] of fresh) {
      if (!this.#deps.owners.keeps(deployment)) continue;
      for (const keeper of this.#keepersOf(deployment)) {
        if (keeper.peer !== connection.peer) this.#send(keeper, receipts, GATHER_MS);
      }
    }
  }

  /** A stranger, and who asks for what is not kept here, gets what nobody knows anything of gets. */
  async #answer(
    stream: MessageStream,
    connection: OverlayConnection,
    deployment: DeploymentId,
    signal: AbortSignal,
  ): Promise<void> {
    const { owners } = this.#deps;
    const isAnswered = owners.keeps(deployment) && this.#isEntitled(connection, deployment);
    const receipts = isAnswered ? owners.receipts(deployment) : [];
    await this.#pay(connection, receipts.length, signal);
    await writeParts(stream, encodeJson({ receipts }), MAX_ANSWER_BYTES, signal);
  }

  async #pay(connection: OverlayConnection, receipts: number, signal: AbortSignal): Promise<void> {
    const waitMs = connection.requests.take(1 + receipts / RECEIPTS_PER_REQUEST);
    if (waitMs > 0) await sleep(this.#deps.clock, waitMs, signal);
  }

  /** Those that are new here, of deployments the peer may speak of. @throws `MESSAGE_INVALID` */
  #taken(connection: OverlayConnection, items: readonly unknown[]): SignedReceipt[] {
    return this.#takeSome(
      connection,
      items.map((item) => parsed(parseSignedReceipt, item)),
    );
  }

  #takeSome(connection: OverlayConnection, receipts: readonly SignedReceipt[]): SignedReceipt[] {
    return receipts.filter(
      (receipt) =>
        this.#isEntitled(connection, receipt.receipt.deployment) &&
        this.#deps.owners.acceptReceipt(connection.peer, receipt),
    );
  }

  /** The first keeper that answers is believed: each receipt is signed by the machine it is of. */
  async #askKeepers(deployment: DeploymentId): Promise<void> {
    const { clock, control, logger } = this.#deps;
    using patience = new Deadline(clock, ANSWERS_MS);
    for (const connection of this.#keepersOf(deployment)) {
      if (patience.signal.aborted) return;
      try {
        using deadline = new Deadline(clock, ANSWER_MS, AbortSignal.any([connection.closed, patience.signal]));
        const stream = await control.open(connection, RECEIPTS_PROTOCOL, deadline.signal);
        try {
          await stream.write(encodeJson({ kind: 'ask', deployment }), deadline.signal);
          await stream.close();
          const { receipts } = decodeJson(await readParts(stream, MAX_ANSWER_BYTES, deadline.signal), answerSchema);
          await this.#takeAnswer(connection, receipts, deadline.signal);
          return;
        } catch (error) {
          stream.abort(error as Error);
          throw error;
        }
      } catch (error) {
        logger.debug(
          { peer: connection.peer, deployment, code: errorCode(error), err: error },
          'receipts not asked for',
        );
      }
    }
  }

  /** One of each machine, some in a turn: a keeper that answers with thousands holds nothing else up. */
  async #takeAnswer(connection: OverlayConnection, items: readonly unknown[], signal: AbortSignal): Promise<void> {
    const heard = new Set<PeerId>();
    for (let at = 0; at < items.length; at += MAX_RECEIPTS) {
      const some = items.slice(at, at + MAX_RECEIPTS).map((item) => parsed(parseSignedReceipt, item));
      const first = some.filter(({ receipt: { node } }) => !heard.has(node) && heard.add(node));
      this.#takeSome(connection, first);
      await sleep(this.#deps.clock, 0, signal);
    }
  }

  /** One admitted connection to each keeper, a direct one where there is one. */
  #keepersOf(deployment: DeploymentId): OverlayConnection[] {
    const { deployments, owners, probation } = this.#deps;
    const keepers = deployments
      .members(deployment)
      .flatMap(({ keeper, peer }) => (keeper && owners.isKeeper(deployment, peer) ? peer : []));
    return bestOfEach(probation.ofPeers(keepers).filter(({ admitted }) => admitted));
  }

  #spread(deployment: DeploymentId): number {
    const above = this.#deps.deployments.members(deployment).length - AT_ONCE;
    return above <= 0 ? 0 : Math.random() * Math.min(above * SPREAD_MS, MAX_SPREAD_MS);
  }

  #send(connection: OverlayConnection, receipts: readonly SignedReceipt[], delayMs = 0): void {
    if (connection.closed.aborted) return;
    const waiting = this.#waiting.get(connection) ?? { receipts: new Map(), sending: false };
    for (const signed of receipts) {
      const { deployment, node } = signed.receipt;
      // What a machine did it knows itself.
      if (node === connection.peer || !this.#isEntitled(connection, deployment)) continue;
      const key = `${deployment} ${node}`;
      if (waiting.receipts.has(key) || waiting.receipts.size < MAX_WAITING) waiting.receipts.set(key, signed);
    }
    if (waiting.receipts.size === 0) return;
    this.#waiting.set(connection, waiting);
    if (!waiting.sending) void this.#run(connection, waiting, delayMs);
  }

  async #run(connection: OverlayConnection, waiting: Waiting, delayMs: number): Promise<void> {
    waiting.sending = true;
    try {
      if (delayMs > 0) await sleep(this.#deps.clock, delayMs, connection.closed);
      for (let offers = 0; waiting.receipts.size > 0;) {
        const batch = [...waiting.receipts].slice(0, MAX_RECEIPTS);
        for (const [key] of batch) waiting.receipts.delete(key);
        // Asked again: a version may have removed the peer meanwhile.
        const receipts = batch
          .map(([, signed]) => signed)
          .filter(({ receipt }) => this.#isEntitled(connection, receipt.deployment));
        try {
          if (receipts.length > 0) await this.#sendNow(connection, receipts);
          offers = 0;
        } catch (error) {
          offers += 1;
          if (offers === OFFERS || connection.closed.aborted) throw error;
          await sleep(this.#deps.clock, RETRY_MS, connection.closed);
          for (const [key, signed] of batch) if (!waiting.receipts.has(key)) waiting.receipts.set(key, signed);
        }
      }
    } catch (error) {
      waiting.receipts.clear();
      this.#deps.logger.debug({ peer: connection.peer, code: errorCode(error), err: error }, 'receipts not delivered');
    } finally {
      waiting.sending = false;
    }
  }

  async #sendNow(connection: OverlayConnection, receipts: readonly SignedReceipt[]): Promise<void> {
    const { clock, control } = this.#deps;
    using deadline = new Deadline(clock, EXCHANGE_MS, connection.closed);
    const stream = await control.open(connection, RECEIPTS_PROTOCOL, deadline.signal);
    try {
      await stream.write(encodeJson({ kind: 'tell', receipts }), deadline.signal);
      await stream.close();
    } catch (error) {
      stream.abort(error as Error);
      throw error;
    }
  }

  #isEntitled(connection: OverlayConnection, deployment: DeploymentId): boolean {
    return this.#deps.deployments.sharedWith(connection.peer).includes(deployment);
  }
}
