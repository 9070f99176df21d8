/** Where a gateway is, for members, clients and its operator. */
import type { LinkService } from '@moat/link';
import type { Overlay } from '@moat/overlay';
import type { LocalAuthority } from './certificates/local-ca.ts';
import type { GatewayConfig } from './config.ts';
import type { GatewayKeys } from './gateway-keys.ts';
import type { OperationsListener } from './metrics/endpoint.ts';
import type { GatewayIdentity } from './request/self.ts';
import type { Traffic } from './workers/traffic.ts';

/** What a running gateway tells about itself. */
export interface GatewayAddresses {
  readonly domain: string;
  /** Multiaddrs with `/p2p/` that members dial. */
  readonly peers: readonly string[];
  readonly box: string;
  readonly httpsPort: number;
  readonly httpPort: number | undefined;
  readonly linkPort: number | undefined;
  /** PEM of the local authority; undefined where certificates come from files. */
  readonly caFile: string | undefined;
  readonly adminSocket: string;
  /** Of metrics and health over plain http; undefined without. */
  readonly metricsPort: number | undefined;
}

/** While a key is being replaced, both PeerIds: at the same addresses answers one, then the other. */
export function identityOf(
  { domain }: GatewayConfig,
  keys: GatewayKeys,
  overlay: Overlay,
  box: string,
): GatewayIdentity {
  const { next, lists } = keys;
  const peers = overlay.addresses();
  const both = next === undefined ? [] : peers.map((address) => address.replace(/[^/]+$/, next));
  return { domain, peers: [...peers, ...both], box, ...(lists.length === 0 ? {} : { lists }) };
}

/** Ports as they are in use, once everything listens. */
export function addressesOf(
  config: GatewayConfig,
  parts: {
    overlay: Overlay;
    links: LinkService;
    edge: Traffic['edge'];
    authority: LocalAuthority | undefined;
    box: string;
    listener: OperationsListener | undefined;
  },
): GatewayAddresses {
  return {
    domain: config.domain,
    peers: parts.overlay.addresses(),
    box: parts.box,
    httpsPort: parts.edge.httpsPort,
    httpPort: parts.edge.httpPort,
    linkPort: parts.links.port,
    caFile: parts.authority?.certificatePath,
    adminSocket: config.adminSocket,
    metricsPort: parts.listener?.port,
  };
}
