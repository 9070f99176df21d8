/** All links of this machine. */
import { MoatError } from '@moat/core';
import type { Clock, ControlPlane, Links, Logger, PeerId, Service, StreamAcceptor } from '@moat/core';

/** What links are made of. */
export interface LinksDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly control: ControlPlane;
  /** Gets every stream that a peer opens; listens to it or resets it before it returns. */
  readonly accept: StreamAcceptor;
}

/** How this machine links. */
export interface LinksOptions {
  /** A gateway only ever accepts links; a member also dials them. */
  readonly role: 'member' | 'gateway';
  /** True when a link with `peer` may stand now; asked at every step and again by {@link LinkService.recheck}. */
  readonly mayLink: (peer: PeerId) => boolean;
  /** The TCP port for direct links; port 0 takes a free one. Without it links ride the overlay or are dialed. */
  readonly listen?: { readonly host: string; readonly port: number };
}

/** The running links; `start` opens the port and serves `/moat/link/1`. */
export interface LinkService extends Service, Links {
  /** The link port, once started with `listen`. */
  readonly port: number | undefined;
  /** Closes with `LINK_REVOKED` every link whose peer may no longer have one. Call it when a contract changed. */
  recheck(): void;
}

/** Links over `control`; nothing is opened before `start`. */
export function createLinks(_deps: LinksDeps, _options: LinksOptions): LinkService {
  throw new MoatError('INTERNAL', 'not built yet');
}
