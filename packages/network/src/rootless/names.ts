/**
 * How programs learn the private network's names: lines for a hosts file, and environment variables.
 */

/** A service with the place where this machine listens for it. */
export interface NamedService {
  readonly name: string;
  /** The network's name: the last label before `.internal`. */
  readonly network: string;
  readonly address: string;
  readonly port: number;
  /** More addresses, of other members that offer it, at the same port. */
  readonly alsoAt?: readonly string[];
}

/** `<service>.<network>.internal`. */
export function hostNameOf(service: string, network: string): string {
  return `${service}.${network}.internal`;
}

/** Lines for a hosts file, one an address, each ended by a newline. */
export function hostsLines(services: readonly NamedService[]): string {
  return services.map((each) => `${each.address}\t${hostNameOf(each.name, each.network)}\n`).join('');
}

/** A whole hosts file: the system's own, then ours. A name of ours in the system's file would win, so it is left out. */
export function hostsFileOf(systemHosts: string, services: readonly NamedService[]): string {
  const ours = new Set(services.map(({ name, network }) => hostNameOf(name, network)));
  const lines = systemHosts.split('\n').filter((line) => {
    const names = (line.split('#')[0] ?? '').trim().split(/\s+/).slice(1);
    return !names.some((name) => ours.has(name.toLowerCase()));
  });
  return `${lines.join('\n').trimEnd()}\n\n# moat: private network\n${hostsLines(services)}`;
}

/**
 * `MOAT_<SERVICE>_HOST` and `_PORT` for each service, and `ALL_PROXY` when there is a proxy. Hyphens become
 * underscores. Where two networks have a service of one name, the first in the list gets the variable.
 */
export function environmentOf(
  services: readonly NamedService[],
  socks?: { readonly host: string; readonly port: number },
): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const { name, address, port } of services) {
    const prefix = `MOAT_${name.toUpperCase().replaceAll('-', '_')}`;
    environment[`${prefix}_HOST`] ??= address;
    environment[`${prefix}_PORT`] ??= String(port);
  }
  if (socks) environment['ALL_PROXY'] = `socks5h://${socks.host}:${socks.port}`;
  return environment;
}
