/** Values of gateway.yaml that stand in several places. */
import { isIP } from 'node:net';
import { z } from 'zod';
import type { HostPort } from './config.ts';
import { normaliseHost } from './names/host.ts';
import type { PortRange } from './names/port.ts';

/** A value that is wrong, with the reason. */
export function complain(context: z.core.$RefinementCtx, message: string): never {
  context.issues.push({ code: 'custom', message, input: context.value });
  return z.NEVER;
}

const hostPortSchema = z.union([z.number(), z.string()]).transform((value, context): HostPort => {
  const [, bracketed, plain, port] = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]*)):(\d{1,5})$/.exec(
    typeof value === 'number' ? `:${value}` : value,
  ) ?? ['', '', '', '65536'];
  if (Number(port) <= 65_535) return { host: (bracketed ?? plain ?? '') || '::', port: Number(port) };
  return complain(context, 'a listen address is PORT, HOST:PORT or [IPv6]:PORT');
});
/** `PORT`, `HOST:PORT` or `[IPv6]:PORT`. */
export const hostPort: z.ZodType<HostPort> = hostPortSchema;

const rangeSchema = z.string().refine((text) => {
  const [, address = '', prefix] = /^([0-9a-fA-F:.]+)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  return isIP(address) !== 0 && (prefix === undefined || Number(prefix) <= (isIP(address) === 6 ? 128 : 32));
}, 'a range of addresses is written like 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7');

const publicPortSchema = z.union([
  hostPortSchema,
  z
    .strictObject({ address: hostPortSchema, proxyProtocol: z.strictObject({ from: z.array(rangeSchema).min(1) }) })
    .transform(({ address, proxyProtocol }): HostPort => ({ ...address, proxyFrom: proxyProtocol.from })),
]);
/** A listen address, or `{ address, proxyProtocol: { from } }` behind load balancers. */
export const publicPort: z.ZodType<HostPort> = publicPortSchema;

const portRangeSchema = z.union([z.number(), z.string()]).transform((value, context): PortRange => {
  const [, first = '0', last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(String(value)) ?? [];
  const range = { from: Number(first), to: Number(last) };
  if (range.from >= 1 && range.from <= range.to && range.to <= 65_535) return range;
  return complain(context, 'ports are written like 15000-15999 or 15432');
});
const portRangesSchema = z
  .union([portRangeSchema, z.array(portRangeSchema).min(1)])
  .transform((ranges): readonly PortRange[] => [ranges].flat());
/** `15000-15999`, `15432`, or a list of these. */
export const portRanges: z.ZodType<readonly PortRange[]> = portRangesSchema;

const domainSchema = z.string().transform((text, context) => {
  const host = normaliseHost(text);
  return host ?? complain(context, 'not a domain name');
});
/** A DNS name, in lower case. */
export const domain: z.ZodType<string> = domainSchema;

const ipAddressSchema = z.string().refine((text) => isIP(text) !== 0, 'not an IP address');
/** IPv4 or IPv6, without a port. */
export const ipAddress: z.ZodType<string> = ipAddressSchema;
