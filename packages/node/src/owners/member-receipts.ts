/** What each member's machine says it did with a version, as it signed it: our own are made here. */
import {
  errorCode,
  isMoatError,
  type Clock,
  type DeploymentId,
  type Hash,
  type Logger,
  type PeerId,
  type Signer,
  type Timer,
} from '@moat/core';
import { createReceipt, formatTime, verifyReceipt, type Receipt, type SignedReceipt } from '@moat/contract';
import type { Overlay } from '@moat/overlay';
import type { Deployment } from '../deployments/deployment.ts';
import type { Deployments } from '../deployments/deployments.ts';
import type { OwnerStore } from '../store/owner-store.ts';

/** Receipts of one machine that are taken at once, and one more a second: keepers pass each on to each other. */
const BURST = 32;
const PER_MS = 1 / 1000;

export interface MemberReceiptsDeps {
  readonly self: PeerId;
  readonly signer: Signer;
  readonly deployments: Deployments;
  readonly overlay: { readonly receipts: Pick<Overlay['receipts'], 'announce'> };
  readonly store: Pick<OwnerStore, 'receipts' | 'saveReceipts' | 'deleteReceipts'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

const WRITE_DELAY_MS = 1000;

interface Known {
  readonly signed: SignedReceipt;
  /** How many more may come now. */
  readonly left: number;
  readonly at: number;
}

/** Bound: one receipt a machine that holds a place, the newest; others are dropped. */
export class MemberReceipts {
  readonly #deps: MemberReceiptsDeps;
  readonly #known = new Map<DeploymentId, Map<PeerId, Known>>();
  readonly #unsaved = new Map<string, SignedReceipt>();
  #timer: Timer | undefined;
  #stopped = false;

  constructor(deps: MemberReceiptsDeps) {
    this.#deps = deps;
  }

  /** Newest of each machine that holds a place now. */
  of(deployment: Deployment): readonly SignedReceipt[] {
    const known = this.#of(deployment.id);
    return deployment.view.peers().flatMap((peer) => known.get(peer)?.signed ?? []);
  }

  /** What this machine said last. */
  ownOf(id: DeploymentId): Receipt | undefined {
    return this.#of(id).get(this.#deps.self)?.signed.receipt;
  }

  /** Signs what this machine did with a version and tells the others; without a place there is nobody to tell. */
  make(deployment: Deployment, version: number, head: Hash, code: string | null): void {
    if (deployment.place === undefined) return;
    const { clock, overlay, signer } = this.#deps;
    const result = code === null ? 'applied' : 'failed';
    // Times are whole seconds, and the later word on one version is the one that counts.
    const before = this.ownOf(deployment.id)?.time;
    const earliest = before === undefined ? 0 : Date.parse(before) + 1000;
    const time = formatTime(Math.max(clock.now(), earliest));
    const signed = createReceipt({ deployment: deployment.id, version, head, result, code, time }, signer);
    this.#keep(signed, BURST);
    overlay.receipts.announce(signed);
  }

  /** Takes another machine's; true = it is new, and of a member. Never throws. */
  accept(signed: SignedReceipt): boolean {
    const { self, deployments, clock, logger } = this.#deps;
    const { deployment: id, node, version, head } = signed.receipt;
    const deployment = deployments.get(id);
    if (deployment === undefined || node === self || deployment.view.memberOf(node) === undefined) return false;
    if (version === deployment.contract.version && head !== deployment.head) return false;
    const held = this.#of(id).get(node);
    if (held !== undefined && !isNewer(signed, held.signed)) return false;
    const now = clock.now();
    const left = held === undefined ? BURST : Math.min(BURST, held.left + Math.max(0, now - held.at) * PER_MS);
    if (left < 1) return false;
    try {
      verifyReceipt(signed);
      this.#keep(signed, left - 1);
      return true;
    } catch (error) {
      if (!isMoatError(error)) throw error;
      logger.info(
        { component: 'node.receipts', peer: node, deployment: id, code: error.code, err: error },
        'receipt refused',
      );
      return false;
    }
  }

  /** Deletes those of machines that hold no place any more. */
  review(deployment: Deployment): void {
    const known = this.#of(deployment.id);
    const gone = [...known.keys()].filter((peer) => deployment.view.memberOf(peer) === undefined);
    for (const peer of gone) {
      known.delete(peer);
      this.#unsaved.delete(`${deployment.id} ${peer}`);
    }
    try {
      this.#deps.store.deleteReceipts(deployment.id, gone);
    } catch (error) {
      this.#deps.logger.warn(
        { component: 'node.receipts', deployment: deployment.id, code: errorCode(error), err: error },
        'receipts not deleted',
      );
    }
  }

  forget(id: DeploymentId): void {
    this.#known.delete(id);
    for (const [key, { receipt }] of this.#unsaved) if (receipt.deployment === id) this.#unsaved.delete(key);
  }

  /** Writes what is not on disk yet; nothing is written later. */
  stop(): void {
    this.#stopped = true;
    this.#flush();
  }

  /** With a full disk it is lost, and nothing else with it. */
  #flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const unsaved = [...this.#unsaved.values()];
    this.#unsaved.clear();
    if (unsaved.length === 0) return;
    this.#deps.store.saveReceipts(unsaved, (error) => {
      const fields = { component: 'node.receipts', count: unsaved.length, code: errorCode(error), err: error };
      this.#deps.logger.warn(fields, 'receipts not saved');
    });
  }

  /** Written a little later, together: a version brings one of every member. */
  #keep(signed: SignedReceipt, left: number): void {
    const { deployment, node } = signed.receipt;
    const { clock } = this.#deps;
    this.#of(deployment).set(node, { signed, left, at: clock.now() });
    this.#unsaved.set(`${deployment} ${node}`, signed);
    if (!this.#stopped) this.#timer ??= clock.after(WRITE_DELAY_MS, () => this.#flush());
  }

  #of(id: DeploymentId): Map<PeerId, Known> {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const at = this.#deps.clock.now();
    const loaded = new Map(
      this.#deps.store.receipts(id).map((signed) => [signed.receipt.node, { signed, left: BURST, at }]),
    );
    this.#known.set(id, loaded);
    return loaded;
  }
}

/** A later version, or a later word on the same one: times are by the same machine's clock. */
function isNewer({ receipt }: SignedReceipt, held: SignedReceipt): boolean {
  if (receipt.version !== held.receipt.version) return receipt.version > held.receipt.version;
  return Date.parse(receipt.time) > Date.parse(held.receipt.time);
}
