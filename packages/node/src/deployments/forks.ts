/** The other branches of a deployment: heads that a quorum signed beside ours, and what they say. */
import { contractBytes, headHash, type Contract, type HeadProof } from '@moat/contract';
import type { Hash } from '@moat/core';
import type { Notice } from '@moat/admin-api';

/** Branches that are kept: one already stops the deployment, the rest tells people more. */
const FORKS_KEPT = 4;

/** Another branch, as far as it is known here. */
export interface Fork {
  readonly proof: HeadProof;
  /** Null while nobody has given it to us. */
  readonly contract: Contract | null;
}

/** Bound: {@link FORKS_KEPT} branches, the first ones, each with the newest head that was seen of it. */
export class Forks {
  readonly #byHead = new Map<Hash, Fork>();

  constructor(forks: Iterable<Fork>) {
    for (const fork of forks) this.#byHead.set(headHash(fork.proof.newest.head), fork);
  }

  get size(): number {
    return this.#byHead.size;
  }

  list(): readonly Fork[] {
    return [...this.#byHead.values()];
  }

  get(head: Hash): Fork | undefined {
    return this.#byHead.get(head);
  }

  /** Canonical bytes of a branch's contract, for members that ask for it by its head. */
  contract(head: Hash): Uint8Array | undefined {
    const contract = this.#byHead.get(head)?.contract;
    return contract === undefined || contract === null ? undefined : contractBytes(contract);
  }

  /** True when it tells more than is known, and there is room for it. */
  takes({ proof, contract }: Fork): boolean {
    const known = this.#byHead.get(headHash(proof.newest.head));
    if (known !== undefined) return known.contract === null && contract !== null;
    return this.#byHead.size < FORKS_KEPT || this.#replaced({ proof, contract }) !== undefined;
  }

  /** Puts a branch in that {@link Forks.takes} agreed to; returns the head it takes the place of. */
  put(fork: Fork): Hash | undefined {
    const replaced = this.#replaced(fork);
    if (replaced !== undefined) this.#byHead.delete(replaced);
    this.#byHead.set(headHash(fork.proof.newest.head), fork);
    return replaced;
  }

  clear(): void {
    this.#byHead.clear();
  }

  /** @param ours the head that is in force here, and who signed it */
  alarms(ours: HeadProof): readonly Notice[] {
    const { head } = ours.newest;
    const text = ({ newest }: HeadProof): string =>
      `${headHash(newest.head)}, signed by ${newest.signatures.map(({ key }) => key).join(', ')}`;
    return this.list().map(({ proof }) => {
      const isLeft = proof.successions.some(
        ({ head: { version }, merged }) => merged !== undefined && version > head.version,
      );
      if (isLeft) {
        const ended = `the owners ended a fork in version ${proof.newest.head.version}`;
        return {
          code: 'HEAD_FORKED',
          message: `${ended}, and version ${head.version} here is on neither of its branches: moat join with a newer token`,
        };
      }
      return {
        code: 'HEAD_FORKED',
        message: `the owners signed two histories: here version ${head.version} ${text(ours)}; elsewhere version ${proof.newest.head.version} ${text(proof)}`,
      };
    });
  }

  /** A branch that goes on is one branch still. Until its newer contract is known, the older one tells what it removed. */
  #replaced({ proof, contract }: Fork): Hash | undefined {
    if (contract === null) return undefined;
    const { previous, merges } = proof.newest.head;
    return (
      [previous, merges].find((head) => head !== null && head !== undefined && this.#byHead.has(head)) ?? undefined
    );
  }
}
