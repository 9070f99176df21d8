/** The system's resolver, from the command. A file of its own: loading it loads the agent's code. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { installDns, readDnsWiring, uninstallDns, type DnsWiring, type WiringDeps } from '@moat/node';

const deps: WiringDeps = {
  run: async (file, args) => void (await promisify(execFile)(file, [...args], { timeout: 20_000 })),
};

/** @throws `DNS_SETUP_UNKNOWN`, `DNS_PORT_SHIFTED`, `DNS_SETUP_FAILED` */
export function installSystemDns(place: { readonly host: string; readonly port: number }): Promise<DnsWiring> {
  return installDns(deps, place);
}

/** @throws `DNS_SETUP_FAILED` */
export function uninstallSystemDns(): Promise<DnsWiring> {
  return uninstallDns(deps);
}

export function systemDns(): Promise<DnsWiring> {
  return readDnsWiring();
}
