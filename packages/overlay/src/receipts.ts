/**
 * `/moat/receipts/1`: what members did with a version, as they signed it. One stream is one message of some receipts,
 * without an answer. A machine sends its own on every connection of the deployment; keepers also pass on what is new,
 * in a network of more than {@link MAX_TOLD} machines to each other only.
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
import { decodeJson, encodeJson, parsed } from './messages.ts';
import type { OwnersView } from './owners-view.ts';
import type { Probation } from './probation.ts';

export const RECEIPTS_PROTOCOL = '/moat/receipts/1';
const EXCHANGE_MS = 10_000;
/** Receipts of one message: all of them fit 64 KiB. */
const MAX_RECEIPTS = 64;
/** Machines of one network that a keeper tells what all others did: each version costs that many receipts squared. */
const MAX_TOLD = 256;
/** Receipts that count as one request. */
const RECEIPTS_PER_REQUEST = 16;
/** Milliseconds until what a peer did not take is offered again, and how often it is offered. */
const RETRY_MS = 2000;
const OFFERS = 3;
/** Receipts that may wait for one peer; more are dropped, the next connection brings them. */
const MAX_WAITING = 4096;

const messageSchema = z.strictObject({ receipts: z.array(z.unknown()).max(MAX_RECEIPTS) });

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

  /** Sends a receipt of ours to everyone connected who may hear of its deployment. */
  announce(receipt: SignedReceipt): void {
    for (const connection of this.#deps.probation.all()) if (connection.admitted) this.#send(connection, [receipt]);
  }

  /** Tells a newly connected peer: a keeper all it knows, everybody else what it did itself. */
  greet(connection: OverlayConnection): void {
    const { deployments, owners, self } = this.#deps;
    for (const deployment of deployments.sharedWith(connection.peer)) {
      const known = owners.receipts(deployment);
      const own = known.filter(({ receipt }) => receipt.node === self);
      this.#send(connection, this.#toldAll(deployment)(connection) ? known : own);
    }
  }

  forget(connection: OverlayConnection): void {
    this.#waiting.delete(connection);
  }

  async #serve(stream: MessageStream, connection: OverlayConnection): Promise<void> {
    const { clock, owners } = this.#deps;
    using deadline = new Deadline(clock, EXCHANGE_MS, connection.closed);
    const { receipts } = decodeJson(await stream.read(deadline.signal), messageSchema);
    const waitMs = connection.requests.take(1 + receipts.length / RECEIPTS_PER_REQUEST);
    if (waitMs > 0) await sleep(clock, waitMs, deadline.signal);
    for (const item of receipts) {
      const receipt = parsed(parseSignedReceipt, item);
      const { deployment } = receipt.receipt;
      if (!this.#isEntitled(connection, deployment) || !owners.acceptReceipt(connection.peer, receipt)) continue;
      this.#passOn(receipt, connection);
    }
  }

  #passOn(receipt: SignedReceipt, from: OverlayConnection): void {
    const isTold = this.#toldAll(receipt.receipt.deployment);
    for (const connection of this.#deps.probation.all()) {
      if (connection !== from && connection.admitted && isTold(connection)) this.#send(connection, [receipt]);
    }
  }

  /** Whom this keeper tells what all others did; members are counted once, however many are asked about. */
  #toldAll(deployment: DeploymentId): (connection: OverlayConnection) => boolean {
    const { deployments, owners } = this.#deps;
    if (!owners.keeps(deployment)) return () => false;
    if (deployments.members(deployment).length <= MAX_TOLD) return () => true;
    return ({ peer }) => owners.isFellowKeeper(deployment, peer);
  }

  #send(connection: OverlayConnection, receipts: readonly SignedReceipt[]): void {
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
    if (!waiting.sending) void this.#run(connection, waiting);
  }

  async #run(connection: OverlayConnection, waiting: Waiting): Promise<void> {
    waiting.sending = true;
    try {
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
      await stream.write(encodeJson({ receipts }), deadline.signal);
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
