/** Debian's miniupnpd at a router of the lab: it opens ports for those behind it who ask. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Namespaces } from './namespaces.ts';

/** By which protocol a router may be asked. */
export type OpensPorts = 'upnp' | 'nat-pmp' | 'both';

/**
 * miniupnpd opens no port where the address outside is one of documentation, as the lab's are: routers with it have one
 * of the range that amateur radio keeps for tests, which hosts of the lab know to be on the public segment too.
 */
export const OPENER_NET = '44.128.0';

/** Its chains, before those of the router; packets leave by the address that it tells. */
const rules = (address: string, how: string): string => `table inet filt {
  chain opened_f {
  }
  chain opened_p {
  }
  chain opened_o {
  }
}
insert rule inet filt forward_f jump opened_f
insert rule inet filt prer jump opened_p
insert rule inet filt postr meta nfproto ipv4 oifname "wan" snat ip to ${address} ${how}
`;

const config = (address: string, opens: OpensPorts): string => `ext_ifname=wan
ext_ip=${address}
listening_ip=lan
ipv6_disable=yes
enable_upnp=${opens === 'nat-pmp' ? 'no' : 'yes'}
enable_natpmp=${opens === 'upnp' ? 'no' : 'yes'}
secure_mode=yes
uuid=00000000-0000-4000-8000-000000000001
upnp_table_name=filt
upnp_nat_table_name=filt
upnp_forward_chain=opened_f
upnp_nat_chain=opened_p
upnp_nat_postrouting_chain=opened_o
allow 1024-65535 192.168.0.0/16 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
`;

/** Starts it; it ends with the router's namespace. `last` is the last number of the router's address. */
export function openPorts(
  spaces: Namespaces,
  router: string,
  last: number,
  opens: OpensPorts,
  isSymmetric: boolean,
): void {
  const address = `${OPENER_NET}.${last}`;
  spaces.ip(router, [`addr add ${address}/32 dev wan`]);
  spaces.nft(router, rules(address, isSymmetric ? 'fully-random' : ''));
  const directory = mkdtempSync(join(tmpdir(), 'moat-opener-'));
  try {
    const file = join(directory, 'miniupnpd.conf');
    writeFileSync(file, config(address, opens));
    // It reads the file, and goes to the background.
    spaces.read(router, 'miniupnpd', '-f', file, '-P', join(directory, 'pid'));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The rules by which ports are open now, as nft prints them. */
export function openedPorts(spaces: Namespaces, router: string): string {
  return spaces.read(router, 'nft', 'list', 'chain', 'inet', 'filt', 'opened_p');
}
