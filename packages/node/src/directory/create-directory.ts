/** This machine's part in the public directory: its own entry, the book it keeps as an anchor, and the desk that asks. */
import type { Clock, Logger, PeerId, Signer } from '@moat/core';
import { DirectoryAnnouncer, DirectoryBook, DirectoryCopy, type Overlay } from '@moat/overlay';
import type { NodeConfig } from '../config.ts';
import type { Deployments } from '../deployments/deployments.ts';
import type { Database } from '../store/database.ts';
import { directoryStore } from '../store/directory-store.ts';
import { DirectoryDesk } from './directory-desk.ts';
import { ownEntry } from './own-entry.ts';

export interface DirectoryDeps {
  readonly self: PeerId;
  readonly signer: Signer;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly deployments: Pick<Deployments, 'list'>;
  readonly overlay: Pick<Overlay, 'addresses' | 'dial' | 'directory' | 'relaying'>;
}

export interface DirectoryAtWork {
  readonly desk: DirectoryDesk;
  start(): void;
  stop(): void;
}

/** The book of an anchor; nobody else keeps one. */
export function openBook(config: NodeConfig, clock: Clock, database: Database): DirectoryBook | undefined {
  return config.anchor ? new DirectoryBook({ clock, store: directoryStore(database) }) : undefined;
}

export function createDirectory(
  { self, signer, clock, logger, deployments, overlay }: DirectoryDeps,
  book: DirectoryBook | undefined,
  config: NodeConfig,
): DirectoryAtWork {
  const anchors = (): readonly string[] => [
    ...new Set([...config.directoryAnchors, ...deployments.list().flatMap(({ contract }) => contract.anchors)]),
  ];
  const copy = book && new DirectoryCopy({ clock, logger, overlay, book }, { anchors: config.directoryAnchors });
  const announcer = config.listed
    ? new DirectoryAnnouncer({
        clock,
        logger,
        overlay,
        book,
        anchors,
        sign: () => ownEntry({ clock, signer, overlay }, config),
      })
    : undefined;
  return {
    desk: new DirectoryDesk({ self, clock, overlay, book, anchors }),
    start() {
      copy?.start();
      announcer?.start();
    },
    stop() {
      announcer?.stop();
      copy?.stop();
    },
  };
}
