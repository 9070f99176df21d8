/**
 * One member's private network: what this machine may reach, and what reaches it.
 */
import type { Clock, DeploymentId, LinkStream, Links, Logger, Service } from '@moat/core';
import type { ContractView } from '@moat/contract';
import type { ExposedTargets, SocketAddress } from './exposed.ts';
import type { ServiceState } from './service-state.ts';

export interface NetworkDeps {
  readonly links: Links;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Uniform in [0, 1). @defaultValue Math.random */
  readonly random?: () => number;
}

export interface NetworkOptions {
  /** This machine's place in the deployment. */
  readonly self: string;
  readonly deployment: DeploymentId;
  readonly exposed: ExposedTargets;
  /** Open a loopback listener for each service this member is granted. */
  readonly loopback: boolean;
  /** Open a SOCKS5 proxy for this network on 127.0.0.1; port 0 = any free one. */
  readonly socks?: { readonly port: number };
}

/** Start, then {@link PrivateNetwork.update} with each contract; the node routes accepted streams by deployment. */
export interface PrivateNetwork extends Service {
  /**
   * Takes a contract into force: first ends streams and listeners it no longer allows, then opens new
   * listeners. Updates are applied one after another, in order of calls.
   */
  update(view: ContractView): Promise<void>;
  /** Judges running streams again, after an exposure was taken away. */
  review(): void;
  /** Checks contract and consent, then connects the stream to the service or resets it with a code. */
  accept(stream: LinkStream): void;
  /**
   * A connected `tcp` stream to one instance of `service`; call `listen` once, `onHead` does not come again.
   * @throws `SERVICE_UNREACHABLE`, `SERVICE_UNKNOWN`, `GRANT_DENIED`, `NETWORK_STOPPED` …, or the signal's reason
   */
  open(service: string, signal: AbortSignal): Promise<LinkStream>;
  /** Every service of the contract, in its order. */
  services(): readonly ServiceState[];
  /** Sockets this network listens on: never a target. */
  sockets(): readonly SocketAddress[];
  /** Where the SOCKS5 proxy listens; undefined when there is none. */
  readonly socks: SocketAddress | undefined;
}

export function createNetwork(deps: NetworkDeps, options: NetworkOptions): PrivateNetwork {
  throw new Error(`not built yet: ${options.self} ${String(deps)}`);
}
