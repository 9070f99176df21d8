/** A router, and what it can be asked for, whichever protocol it speaks. */
import type { Clock, Endpoint, MappingProtocol } from '@moat/core';

/** The default gateway, and who we are there. */
export interface Router {
  readonly host: string;
  /** Our address on the way to it. */
  readonly own: string;
  /** UDP port for NAT-PMP. */
  readonly natPmpPort: number;
  /** Where a search for UPnP goes. */
  readonly searchAt: readonly Endpoint[];
}

/** A port outside that leads to us. */
export interface GivenPort {
  readonly externalPort: number;
  /** Null for one that has no end, and has to be given back. */
  readonly lifetimeSeconds: number | null;
}

/** A router that was found by one protocol. Each question has a deadline of its own. */
export interface PortGiver {
  readonly protocol: MappingProtocol;
  /** Its public address. @throws `ROUTER_REFUSED` where it has none, `ROUTER_SILENT`, `ROUTER_INVALID`, or the signal's reason */
  outside(signal: AbortSignal): Promise<string>;
  /** Also for a port that leads here already: that renews it. @throws as {@link PortGiver.outside} */
  give(port: number, signal: AbortSignal): Promise<GivenPort>;
  /** Ends what leads to `port`. @throws as {@link PortGiver.outside} */
  take(port: number, given: GivenPort, signal: AbortSignal): Promise<void>;
}

/** Resolves with a giver that has a public address. @throws as {@link PortGiver.outside} */
export type FindGiver = (router: Router, signal: AbortSignal) => Promise<FoundGiver>;

export interface FoundGiver {
  readonly giver: PortGiver;
  /** What {@link PortGiver.outside} said a moment ago. */
  readonly outside: string;
}

export interface GiverDeps {
  readonly clock: Clock;
}

/** Seconds that a mapping is asked for; a machine that disappears leaves it behind for so long. */
export const LIFETIME_SECONDS = 3600;
