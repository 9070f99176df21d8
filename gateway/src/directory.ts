/** This gateway in the public directory: the book it keeps as an anchor, and its own entry. */
import type { Clock, Logger, Service, Signer } from '@moat/core';
import { formatTime, signNodeEntry, type DirectoryRole, type SignedEntry } from '@moat/contract';
import { DirectoryAnnouncer, DirectoryBook, DirectoryCopy, type DirectoryStore, type Overlay } from '@moat/overlay';
import type { GatewayConfig } from './config.ts';

export interface GatewayDirectoryDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signer: Signer;
  readonly overlay: Pick<Overlay, 'addresses' | 'dial' | 'directory' | 'relaying'>;
}

/** Milliseconds that an entry is good for: three renewals. */
const LIFE_MS = 86_400_000;

/** Undefined where this gateway is no anchor. */
export function openBook(config: GatewayConfig, clock: Clock, store: DirectoryStore): DirectoryBook | undefined {
  return config.anchor ? new DirectoryBook({ clock, store }) : undefined;
}

/** Copies the directory of the anchors that the operator named, and says to them that this gateway is there. */
export function createGatewayDirectory(
  deps: GatewayDirectoryDeps,
  book: DirectoryBook | undefined,
  config: GatewayConfig,
): Service {
  const { clock, logger, overlay } = deps;
  const { anchors, listed } = config.directory;
  const copy = book && new DirectoryCopy({ clock, logger, overlay, book }, { anchors });
  const announcer = listed
    ? new DirectoryAnnouncer({
        clock,
        logger,
        overlay,
        book,
        anchors: () => anchors,
        sign: () => entryOf(deps, config),
      })
    : undefined;
  const stop = (): Promise<void> => {
    announcer?.stop();
    copy?.stop();
    return Promise.resolve();
  };
  return {
    start() {
      copy?.start();
      announcer?.start();
      return Promise.resolve();
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function entryOf({ clock, signer, overlay }: GatewayDirectoryDeps, config: GatewayConfig): SignedEntry {
  const now = clock.now();
  const { region, terms } = config.directory;
  const roles: DirectoryRole[] = config.anchor ? ['anchor', 'gateway'] : ['gateway'];
  const relaying = overlay.relaying();
  return signNodeEntry(
    {
      number: now,
      expires: formatTime(now + LIFE_MS),
      roles,
      domain: config.domain,
      addresses: [...new Set(overlay.addresses())].sort().slice(0, 8),
      ...(region === undefined ? {} : { region }),
      ...(terms === undefined ? {} : { terms }),
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
