/** What is kept of a network to which the operator gave an interface. */
import type { MoatError, Remap, Timer } from '@moat/core';
import type { Plane } from '@moat/network';
import type { StoredTunnel } from '../store/machine-store.ts';
import { namespacePath } from './namespaces.ts';

/** A network with an interface, wanted or standing. */
export interface Tunneled {
  readonly stored: StoredTunnel;
  readonly plane: Plane | undefined;
  /** Why there is no plane, though it is wanted. */
  readonly error: MoatError | null;
  readonly remap: Remap | undefined;
}

/** The same, as it changes. */
export interface TunnelEntry {
  stored: StoredTunnel;
  plane: Plane | undefined;
  error: MoatError | null;
  remap: Remap | undefined;
  /** The contract's range that `remap` was found for. */
  network: string | undefined;
  /** Steps of one network run one after another; none rejects. */
  steps: Promise<unknown>;
  /** After a step that failed. */
  retry: Timer | undefined;
}

export function entryOf(stored: StoredTunnel): TunnelEntry {
  return {
    stored,
    plane: undefined,
    error: null,
    remap: undefined,
    network: undefined,
    steps: Promise.resolve(),
    retry: undefined,
  };
}

/** Where the namespace of a network stands; null = the agent's own. */
export function namespaceOf({ netns }: StoredTunnel): string | null {
  return netns === null ? null : namespacePath(netns);
}
