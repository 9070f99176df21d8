/** Values of gateway.yaml that stand in several places. */
import { isIP } from 'node:net';
import { z } from 'zod';
import type { HostPort } from './config.ts';
import { normaliseHost } from './names/host.ts';

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

const domainSchema = z.string().transform((text, context) => {
  const host = normaliseHost(text);
  return host ?? complain(context, 'not a domain name');
});
/** A DNS name, in lower case. */
export const domain: z.ZodType<string> = domainSchema;

const ipAddressSchema = z.string().refine((text) => isIP(text) !== 0, 'not an IP address');
/** IPv4 or IPv6, without a port. */
export const ipAddress: z.ZodType<string> = ipAddressSchema;
