/** What one member's private network is to its node. */
import type { Clock, DeploymentId, LinkStream, Links, Logger, Service } from '@moat/core';
import type { ContractView } from '@moat/contract';
import type { TlsEnds } from './connector/tls-end.ts';
import type { ExposedTargets, SocketAddress } from './exposed.ts';
import type { NamespaceSockets } from './namespace/namespace-sockets.ts';
import type { ProxyDestination } from './rootless/proxy-rules.ts';
import type { ServiceState } from './service-state.ts';

export interface NetworkDeps {
  readonly links: Links;
  readonly logger: Logger;
  readonly clock: Clock;
  /** Uniform in [0, 1). @defaultValue Math.random */
  readonly random?: () => number;
  /** Certificates for names that gateways pass through. @defaultValue none, and such streams are refused */
  readonly tlsEnds?: TlsEnds | undefined;
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
  /** A code while nothing may be opened or go on, whatever the contract says; asked for every stream. */
  readonly refusal?: () => string | undefined;
  /** Has streams of packets from members with whom the contract gives this machine a tunnel. @defaultValue none is let in */
  readonly takePackets?: (stream: LinkStream) => void;
  /** Where listeners and targets stand. @defaultValue where the agent runs */
  readonly inside?: NamespaceSockets | undefined;
  /** Addresses of a service over the WireGuard plane. @defaultValue none */
  readonly planeAddresses?: (service: string) => readonly string[];
  /** Streams from peers at a time; more are refused with `SERVICE_BUSY`. @defaultValue 4096 */
  readonly maxAccepted?: number;
}

/** Start, then {@link PrivateNetwork.update} with each contract; the node routes accepted streams by deployment. */
export interface PrivateNetwork extends Service {
  /**
   * Takes a contract into force. Before it returns, streams the contract no longer allows are ended; the
   * promise resolves when listeners are closed and opened too. Updates apply one after another.
   */
  update(view: ContractView): Promise<void>;
  /**
   * Judges running streams and health checks again, after an exposure was added or taken away; until then streams are
   * accepted as before. A socket of Moat itself is never connected to, whenever it was opened.
   */
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
  /** Where the proxy, or another one the node shares between networks, finds a service of this network. */
  resolve(host: string, port: number): ProxyDestination | undefined;
  /** Sockets this network listens on: never a target. */
  sockets(): readonly SocketAddress[];
  /** Where the SOCKS5 proxy listens; undefined when there is none. */
  readonly socks: SocketAddress | undefined;
}
