/** How this machine shows itself in the directory. */
import type { Clock, Signer } from '@moat/core';
import { formatTime, signNodeEntry, type DirectoryRole, type SignedEntry } from '@moat/contract';
import type { Overlay } from '@moat/overlay';
import type { NodeConfig } from '../config.ts';

/** Milliseconds that an entry of a machine is good for: three renewals. */
const LIFE_MS = 86_400_000;

export interface OwnEntryDeps {
  readonly clock: Clock;
  readonly signer: Signer;
  readonly overlay: Pick<Overlay, 'addresses' | 'relaying'>;
}

export function ownEntry({ clock, signer, overlay }: OwnEntryDeps, config: NodeConfig): SignedEntry {
  const now = clock.now();
  const roles: DirectoryRole[] = config.anchor ? ['anchor', 'node'] : ['node'];
  const direct = overlay.addresses().filter((address) => !address.includes('/p2p-circuit'));
  const { region, terms, offeredTo } = config;
  const relaying = overlay.relaying();
  return signNodeEntry(
    {
      number: now,
      expires: formatTime(now + LIFE_MS),
      roles,
      addresses: [...new Set(direct)].sort().slice(0, 8),
      ...(region === undefined ? {} : { region }),
      ...(terms === undefined ? {} : { terms }),
      ...(offeredTo === undefined ? {} : { offeredTo: offeredTo === 'anyone' ? offeredTo : [...offeredTo].sort() }),
      ...(relaying === undefined
        ? {}
        : {
            relayCapacity: Math.max(0, relaying.maxPlaces - relaying.places),
            load: Math.min(100, Math.round((100 * relaying.places) / Math.max(1, relaying.maxPlaces))),
          }),
    },
    signer,
  );
}
