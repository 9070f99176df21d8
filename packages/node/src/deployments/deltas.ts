/**
 * What makes a contract in force of the versions before it: hundreds of members ask for the same within a second of a
 * new version.
 */
import type { Hash } from '@moat/core';
import { contractDelta, contractMatchesHead, headHash, parseContract, type Contract } from '@moat/contract';
import type { HeadName } from '@moat/overlay';
import type { DeploymentStore } from '../store/deployment-store.ts';

/** Versions back from the one in force; who missed more is given the whole contract. */
const VERSIONS = 8;

/** Bound: {@link VERSIONS} for each contract that is in force, each made once. */
export class Deltas {
  readonly #store: Pick<DeploymentStore, 'version'>;
  readonly #known = new WeakMap<Contract, Map<Hash, Uint8Array>>();

  constructor(store: Pick<DeploymentStore, 'version'>) {
    this.#store = store;
  }

  /** Undefined where there is none: the whole contract serves as well. */
  to(contract: Contract, since: HeadName): Uint8Array | undefined {
    if (contract.version - since.version > VERSIONS) return undefined;
    const known = this.#known.get(contract) ?? new Map<Hash, Uint8Array>();
    this.#known.set(contract, known);
    const delta = known.get(since.head) ?? this.#make(contract, since);
    if (delta !== undefined) known.set(since.head, delta);
    return delta;
  }

  #make(contract: Contract, since: HeadName): Uint8Array | undefined {
    try {
      const earlier = this.#store.version(contract.deployment, since.version);
      if (earlier === undefined || headHash(earlier.signed.head) !== since.head) return undefined;
      const base = parseContract(earlier.contract);
      contractMatchesHead(base, earlier.signed.head);
      return contractDelta(base, contract);
    } catch {
      // The disk does not read, or not what was written.
      return undefined;
    }
  }
}
