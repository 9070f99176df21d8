import type { ServiceProtocol } from '@moat/contract';

/** One service of the private network as this member sees it; what `status` shows. */
export interface ServiceState {
  readonly name: string;
  /** `<service>.<network>.internal`. */
  readonly host: string;
  readonly protocol: ServiceProtocol;
  /** The port in the contract. */
  readonly servicePort: number;
  /** Loopback address of our listener; null when this member has no grant, or no listener could be opened. */
  readonly address: string | null;
  /** Port of our listener: the service's own, or another where the system refused that one. */
  readonly port: number;
  /** Addresses over the WireGuard plane, of members that are met there; empty where that does not lead to it. */
  readonly plane: readonly string[];
  /** True when a grant lets this member reach it. */
  readonly granted: boolean;
  /** True when this member offers it itself. */
  readonly local: boolean;
  /** Members that offer it now. */
  readonly instances: readonly string[];
  /** How many of them did not fail lately. */
  readonly healthy: number;
  /** Why there is no listener, e.g. `LISTEN_FAILED`, or `NEEDS_WIREGUARD` where no way at all leads to it. */
  readonly code?: string;
}
