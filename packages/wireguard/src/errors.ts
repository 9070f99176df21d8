/** The codes this package raises. */
import { MoatError, type ErrorDetails } from '@moat/core';

export const WIREGUARD_ERROR_CODES = [
  'TUNNEL_FAILED', // a tool of the machine refused what a WireGuard interface needs | read its words in the message; until it works the interface lets nothing in
  'TUNNEL_TOOL_MISSING', // a program that WireGuard interfaces need is not installed | install the Debian package that the message names
  'TUNNEL_FORBIDDEN', // this process may not change network interfaces | run the agent as root, or give it CAP_NET_ADMIN (and CAP_SYS_ADMIN for namespaces)
  'TUNNEL_UNKNOWN', // no WireGuard interface of Moat, or no peer of it, has this name | `moat wireguard status` lists those that stand
] as const;

export type WireguardErrorCode = (typeof WIREGUARD_ERROR_CODES)[number];

/** A coded failure of this package. */
export function failure(
  code: WireguardErrorCode,
  message: string,
  options: { readonly details?: ErrorDetails; readonly cause?: unknown; readonly retryable?: boolean } = {},
): MoatError<WireguardErrorCode> {
  return new MoatError<WireguardErrorCode>(code, message, options);
}
