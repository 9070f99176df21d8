/**
 * Consent: which targets on this machine its operator exposed to which deployment.
 * A contract names targets; without an entry here none of them is served.
 */
import { networkInterfaces } from 'node:os';
import { isIP } from 'node:net';
import type { DeploymentId } from '@moat/core';
import { MoatError } from '@moat/core';

/** What the private network asks before it connects a stream to a target. */
export interface ExposedTargets {
  /** `target` is `host:port`; `isPublic` asks for streams that a gateway opened. */
  isExposed(target: string, deployment: DeploymentId, isPublic: boolean): boolean;
  /** True for a socket of Moat itself, which is never a target. `host` is an IP address. */
  isOwnSocket(host: string, port: number): boolean;
}

/** One line of consent: `moat node expose [HOST:]PORT --to DEPLOYMENT [--public]`. */
export interface Exposure {
  readonly deployment: DeploymentId;
  /** `host:port`; `3000` means this machine's loopback. */
  readonly target: string;
  /** Streams from gateways are accepted too. */
  readonly public: boolean;
}

export interface SocketAddress {
  readonly host: string;
  readonly port: number;
}

/** A target whose connections begin with bytes that say for whom they are. */
export interface IntroducedAddress extends SocketAddress {
  readonly preamble?: Uint8Array | undefined;
}

export interface ExposedTableDeps {
  /** Sockets Moat listens on now: libp2p, links, proxy, loopback listeners. `0.0.0.0` and `::` mean every local address. */
  ownSockets(): Iterable<SocketAddress>;
}

/** The consent table of one node; the node persists its lines and gives them back on start. */
export class ExposedTable implements ExposedTargets {
  readonly #deps: ExposedTableDeps;
  readonly #lines = new Map<string, Exposure>();

  constructor(deps: ExposedTableDeps) {
    this.#deps = deps;
  }

  /**
   * Adds or replaces a line and returns it in canonical form.
   * @throws `TARGET_INVALID`, `TARGET_OWN`
   */
  add(exposure: Exposure): Exposure {
    const address = parseTarget(exposure.target);
    if (this.isOwnSocket(address.host, address.port)) {
      throw new MoatError('TARGET_OWN', `${exposure.target} is a socket of Moat itself`, {
        details: { target: exposure.target },
      });
    }
    const line = { ...exposure, target: formatTarget(address) };
    this.#lines.set(keyOf(line.deployment, address), line);
    return line;
  }

  /** True when there was such a line. @throws `TARGET_INVALID` */
  remove(deployment: DeploymentId, target: string): boolean {
    return this.#lines.delete(keyOf(deployment, parseTarget(target)));
  }

  list(): readonly Exposure[] {
    return [...this.#lines.values()];
  }

  isExposed(target: string, deployment: DeploymentId, isPublic: boolean): boolean {
    let address: SocketAddress;
    try {
      address = parseTarget(target);
    } catch {
      return false;
    }
    const line = this.#lines.get(keyOf(deployment, address));
    if (!line || (isPublic && !line.public)) return false;
    return !this.isOwnSocket(address.host, address.port);
  }

  isOwnSocket(host: string, port: number): boolean {
    const wanted = plainAddress(host);
    for (const own of this.#deps.ownSockets()) {
      if (own.port !== port) continue;
      const bound = plainAddress(own.host);
      if (bound === wanted) return true;
      if (isWildcard(bound) && isLocalAddress(wanted)) return true;
    }
    return false;
  }
}

/**
 * `3000`, `localhost:3000`, `10.0.0.5:80`, `[::1]:3000`, `db.lan:5432` as host and port.
 * A bare port means 127.0.0.1; wildcard addresses are refused, since they name no host.
 * @throws `TARGET_INVALID`
 */
export function parseTarget(text: string): SocketAddress {
  const known = parsed.get(text);
  if (known !== undefined) return known;
  const address = readTarget(text);
  if (parsed.size >= MAX_PARSED) parsed.clear();
  parsed.set(text, address);
  return address;
}

/** Targets read before: each stream asks for its own again. Bound: emptied when full. */
const parsed = new Map<string, SocketAddress>();
const MAX_PARSED = 256;

function readTarget(text: string): SocketAddress {
  const match = /^(?:(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}))):)?([0-9]{1,5})$/.exec(text);
  const host = (match?.[1] ?? match?.[2] ?? '127.0.0.1').toLowerCase();
  const port = Number(match?.[3]);
  const isIpv6 = match?.[1] !== undefined;
  // A name of digits and dots that is no IPv4 address (`127.1`, `0x7f.1`) would be one to some resolvers.
  const numeric = /^(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+))*\.?$/.test(host);
  const valid = isIpv6 ? isIP(host) === 6 : !numeric || isIP(host) === 4;
  if (!match || !valid || port < 1 || port > 65_535 || isWildcard(plainAddress(host))) {
    throw new MoatError('TARGET_INVALID', `${JSON.stringify(text.slice(0, 80))} is not HOST:PORT`);
  }
  return { host, port };
}

function formatTarget({ host, port }: SocketAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** The three usual names of this machine's loopback are one consent; other 127.x.y.z are addresses of their own. */
function keyOf(deployment: DeploymentId, { host, port }: SocketAddress): string {
  const plain = plainAddress(host);
  return `${deployment} ${plain === 'localhost' || plain === '::1' ? '127.0.0.1' : plain} ${port}`;
}

/** One spelling an address: IPv6 compressed, IPv4-mapped IPv6 as IPv4, no zone. */
function plainAddress(host: string): string {
  const lower = host.toLowerCase().replace(/%.*$/, '');
  if (isIP(lower) !== 6) return lower;
  const compressed = new URL(`http://[${lower}]/`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(compressed);
  if (!mapped) return compressed;
  const high = Number.parseInt(mapped[1] ?? '', 16);
  const low = Number.parseInt(mapped[2] ?? '', 16);
  return `${high >> 8}.${high & 0xff}.${low >> 8}.${low & 0xff}`;
}

function isWildcard(address: string): boolean {
  return address === '0.0.0.0' || address === '::';
}

function isLocalAddress(address: string): boolean {
  if (address === 'localhost' || address === '::1' || address.startsWith('127.') || isWildcard(address)) return true;
  return Object.values(networkInterfaces()).some((entries) =>
    entries?.some((entry) => plainAddress(entry.address) === address),
  );
}
