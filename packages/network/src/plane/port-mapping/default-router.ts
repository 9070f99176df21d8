/** Which router packets of this machine leave by. */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { NAT_PMP_PORT } from './nat-pmp.ts';
import type { Router } from './port-giver.ts';
import { SSDP_GROUP, SSDP_PORT } from './ssdp.ts';

/** From the table of routes (proc(5); addresses are little endian); null without one, and elsewhere than on Linux. */
export async function defaultRouter(): Promise<Router | null> {
  let table: string;
  try {
    table = await readFile('/proc/net/route', 'utf8');
  } catch {
    return null;
  }
  const host = defaultGatewayOf(table);
  const own = host === null ? null : await ownAddressTowards(host);
  if (host === null || own === null) return null;
  const searchAt = [SSDP_GROUP, host].map((to) => ({ host: to, port: SSDP_PORT }));
  return { host, own, natPmpPort: NAT_PMP_PORT, searchAt };
}

/** The gateway of the default route with the least metric in `/proc/net/route`. */
export function defaultGatewayOf(table: string): string | null {
  const routes = table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(
      ([, destination, gateway, , , , , mask]) =>
        destination === '00000000' && mask === '00000000' && gateway !== '00000000',
    )
    .sort((a, b) => Number(a[6]) - Number(b[6]));
  const gateway = routes[0]?.[2];
  if (gateway === undefined || !/^[0-9A-F]{8}$/i.test(gateway)) return null;
  return [...Buffer.from(gateway, 'hex')].reverse().join('.');
}

/** As the kernel would choose it; nothing is sent. */
async function ownAddressTowards(host: string): Promise<string | null> {
  const socket = createSocket('udp4');
  try {
    socket.connect(SSDP_PORT, host);
    await once(socket, 'connect');
    return socket.address().address;
  } catch {
    return null;
  } finally {
    socket.close();
  }
}
