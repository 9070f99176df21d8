/** Where a network's addresses stand on this machine: the range is chosen once and kept. */
import type { DeploymentId, PeerId } from '@moat/core';
import { tunnelNameOf } from '@moat/network';
import type { MachineStore, StoredTunnel } from '../store/machine-store.ts';
import { remapFor } from './free-range.ts';
import { takenRanges } from './namespaces.ts';

export interface OwnRangeDeps {
  readonly self: PeerId;
  readonly store: Pick<MachineStore, 'saveTunnel'>;
  /** The contract's range of a network here. */
  readonly networkOf: (id: DeploymentId) => string | undefined;
}

/**
 * What is to be kept of a network from now on: where its range `network` is taken in `namespace`, with another one. One
 * found before stays: programs and people remember addresses.
 * @param others networks of this machine with an interface
 * @throws `RANGE_TAKEN`
 */
export async function keepRange(
  { self, store, networkOf }: OwnRangeDeps,
  stored: StoredTunnel,
  { network, namespace, others }: { network: string; namespace: string | null; others: readonly StoredTunnel[] },
): Promise<StoredTunnel> {
  if (stored.remap !== null && stored.remap.split('/')[1] === network.split('/')[1]) return stored;
  const own = tunnelNameOf(stored.deployment, self);
  const taken = (await takenRanges(namespace)).filter((range) => range.interface !== own).map(({ cidr }) => cidr);
  const beside = others.filter(({ deployment, netns }) => deployment !== stored.deployment && netns === stored.netns);
  const ranges = beside.flatMap(({ remap, deployment }) => remap ?? networkOf(deployment) ?? []);
  const remap = remapFor(stored.deployment, network, [...taken, ...ranges]);
  if (remap === stored.remap) return stored;
  const kept = { ...stored, remap };
  store.saveTunnel(kept);
  return kept;
}
