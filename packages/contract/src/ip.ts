/** Texts of IP addresses. Node's own checks live in node:net, which a pure package stays away from. */
import { z } from 'zod';

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;
const ipv6 = z.ipv6();

/** True for four decimal numbers without leading zeros. */
export function isIpv4(text: string): boolean {
  return IPV4.test(text);
}

/** True for an IPv6 address without a zone. */
export function isIpv6(text: string): boolean {
  return text.length <= 45 && ipv6.safeParse(text).success;
}
