/** What a device with stock WireGuard is to be told: its addresses, the member it connects to, and what it may reach there. */
import { MoatError } from '@moat/core';
import { grantedServices } from './access.ts';
import { ipv6Of } from './ipv6.ts';
import { selectorsOf } from './selector.ts';
import { parseTarget } from './target.ts';
import { parseTime } from './time.ts';
import type { ContractView } from './view.ts';

export interface DeviceProfile {
  readonly member: string;
  /** With prefix length. */
  readonly addresses: readonly string[];
  /** The member it connects to. */
  readonly via: string;
  /** That member's WireGuard key. */
  readonly viaKey: string;
  /** CIDRs: members that offer what is granted to it, each by itself; everything where it may leave to the internet. */
  readonly allowedIps: readonly string[];
  /** Services it may reach, by name. */
  readonly services: readonly string[];
}

/**
 * @param now milliseconds since 1970
 * @throws `MEMBER_UNKNOWN`, `DEVICE_UNFIT` where no stock client could connect under this contract
 */
export function deviceProfileOf(view: ContractView, name: string, now: number): DeviceProfile {
  const { contract } = view;
  const place = view.places.get(name);
  if (place === undefined) {
    throw new MoatError('MEMBER_UNKNOWN', `${contract.name} has no member ${name}`, { details: { member: name } });
  }
  const { via } = place;
  if (via === undefined) throw unfit(name, 'it is a place for a machine: a device has via: MEMBER in moat.yaml');
  const viaKey = view.places.get(via)?.wireguard;
  if (viaKey === undefined)
    throw unfit(name, `${via} has no WireGuard key yet`, ['moat wireguard up   on its machine']);
  if (contract.network.postQuantum === 'require') {
    throw unfit(name, 'the network requires post-quantum keys, which stock WireGuard clients cannot renew');
  }
  const services = grantedServices(view, name, now);
  const isIpv6 = new Set(services.filter(({ target }) => parseTarget(target).host.includes(':')));
  const ranges = services.flatMap((service) =>
    view
      .membersOn(service.name)
      .map((member) => (isIpv6.has(service) ? `${ipv6Of(contract.deployment, member.name)}/128` : `${member.ipv4}/32`)),
  );
  const leaves = contract.egress?.some(
    (line) =>
      line.via === via &&
      (line.expires === undefined || now < parseTime(line.expires)) &&
      selectorsOf(place).some((selector) => line.from.includes(selector)),
  );
  return {
    member: name,
    addresses: [
      `${place.ipv4}/32`,
      ...(leaves === true || isIpv6.size > 0 ? [`${ipv6Of(contract.deployment, name)}/128`] : []),
    ],
    via,
    viaKey,
    allowedIps: leaves === true ? ['0.0.0.0/0', '::/0'] : [...new Set(ranges)],
    services: services.map((service) => service.name),
  };
}

/**
 * As `wg-quick` and the WireGuard apps read it. No name server: what a device asks by name would leave the network.
 * @param privateKey in base64; the text must be kept like it.
 * @param endpoint `host:port` of `via`.
 */
export function wgQuickText(
  { addresses, via, viaKey, allowedIps }: DeviceProfile,
  privateKey: string,
  endpoint: string,
): string {
  return [
    '[Interface]',
    `PrivateKey = ${privateKey}`,
    `Address = ${addresses.join(', ')}`,
    '',
    '[Peer]',
    `# ${via}`,
    `PublicKey = ${viaKey}`,
    `AllowedIPs = ${allowedIps.join(', ')}`,
    `Endpoint = ${endpoint}`,
    'PersistentKeepalive = 25',
    '',
  ].join('\n');
}

function unfit(member: string, reason: string, next: readonly string[] = []): MoatError<'DEVICE_UNFIT'> {
  return new MoatError('DEVICE_UNFIT', `${member} cannot be used as a device`, {
    reason,
    next: [...next],
    details: { member },
  });
}
