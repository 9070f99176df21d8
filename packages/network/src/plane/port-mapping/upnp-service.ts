/** The services of UPnP's Internet Gateway Device that lead ports: where they are, and how they are called. */
import { MoatError, type Clock } from '@moat/core';
import { askByHttp } from './router-http.ts';
import { routerUrl } from './ssdp.ts';
import { readLeaves, type XmlLeaf } from './xml-leaves.ts';

/** Best first: IGD v2, IGD v1, and v1 behind a dial-in. */
const TYPES = ['WANIPConnection:2', 'WANIPConnection:1', 'WANPPPConnection:1'].map(
  (type) => `urn:schemas-upnp-org:service:${type}`,
);
/** A router with several ways out has a service for each; further ones are left alone. */
const MOST_SERVICES = 4;

/** What it is called by. */
export interface UpnpService {
  readonly type: string;
  readonly control: URL;
}

/** Reads what is described at `place`. @throws `ROUTER_SILENT`, `ROUTER_INVALID`, or the signal's reason */
export async function describedServices(
  clock: Clock,
  place: URL,
  signal: AbortSignal,
): Promise<readonly UpnpService[]> {
  const { status, text } = await askByHttp(clock, { url: place }, signal);
  if (status !== 200)
    throw new MoatError('ROUTER_INVALID', 'the router does not describe itself', { details: { status } });
  return servicesOf(readLeaves(text), place);
}

/** Those whose control stands at the host of `place`, best first. */
export function servicesOf(leaves: readonly XmlLeaf[], place: URL): readonly UpnpService[] {
  const host = place.hostname;
  const base = routerUrl(textOf(leaves, 'URLBase') ?? '', host) ?? place;
  const inner = Map.groupBy(leaves, ({ parent }) => parent);
  return [...inner.values()]
    .flatMap((service) => {
      const type = textOf(service, 'serviceType') ?? '';
      const address = textOf(service, 'controlURL') ?? '';
      const control = /^[\x21-\x7e]+$/.test(address) ? routerUrl(address, host, base) : null;
      return TYPES.includes(type) && control !== null ? [{ type, control }] : [];
    })
    .toSorted((a, b) => TYPES.indexOf(a.type) - TYPES.indexOf(b.type))
    .slice(0, MOST_SERVICES);
}

/**
 * Calls an action (UPnP Device Architecture 1.1, §3.2). Names and values are ours, and need no quoting.
 * @returns what it answers, by name
 * @throws `ROUTER_REFUSED` with UPnP's number as `details.code`, `ROUTER_SILENT`, `ROUTER_INVALID`, or the signal's reason
 */
export async function callUpnp(
  clock: Clock,
  { type, control }: UpnpService,
  action: string,
  values: readonly (readonly [name: string, value: string | number])[],
  signal: AbortSignal,
): Promise<(name: string) => string | undefined> {
  const inner = values.map(([name, value]) => `<${name}>${value}</${name}>`).join('');
  const body =
    '<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ' +
    's:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>' +
    `<u:${action} xmlns:u="${type}">${inner}</u:${action}></s:Body></s:Envelope>\r\n`;
  const headers = {
    'content-type': 'text/xml; charset="utf-8"',
    'content-length': String(Buffer.byteLength(body)),
    soapaction: `"${type}#${action}"`,
  };
  const { status, text } = await askByHttp(clock, { url: control, headers, body }, signal);
  const leaves = readLeaves(text);
  // Some say it with status 200.
  const code = textOf(leaves, 'errorCode');
  if (code !== undefined && /^\d{1,4}$/.test(code)) {
    const details = { action, code: Number(code) };
    throw new MoatError('ROUTER_REFUSED', 'the router refuses by UPnP', { details });
  }
  if (status !== 200) throw new MoatError('ROUTER_INVALID', 'the router answers no UPnP', { details: { status } });
  return (name) => textOf(leaves, name);
}

function textOf(leaves: readonly XmlLeaf[], name: string): string | undefined {
  return leaves.find((leaf) => leaf.name === name)?.text;
}
