/** Targets: where a service listens on its member's machine. */
import { MoatError } from '@moat/core';
import { isIpv4, isIpv6 } from './ip.ts';
import { isHostName } from './multiaddr.ts';

/** A parsed target; `host` without the brackets of an IPv6 address. */
export interface Target {
  readonly host: string;
  readonly port: number;
}

/**
 * Parses `127.0.0.1:3000`, `localhost:3000` or `[::1]:3000`.
 * @throws `CONTRACT_INVALID`
 */
export function parseTarget(text: string): Target {
  const match = /^(?:\[([0-9a-fA-F:.]{2,45})\]|([^[\]:]{1,253})):([1-9]\d{0,4})$/.exec(text);
  const [, ipv6, name, digits] = match ?? [];
  const port = Number(digits);
  const hostFits = ipv6 === undefined ? isIpv4OrName(name ?? '') : isIpv6(ipv6);
  if (match === null || !hostFits || port > 65_535) {
    throw new MoatError('CONTRACT_INVALID', 'a target is written as host:port, with a port of 1–65535', {
      details: { target: text.slice(0, 320) },
    });
  }
  return { host: ipv6 ?? name ?? '', port };
}

/** True for what {@link parseTarget} takes. */
export function isTarget(text: string): boolean {
  try {
    parseTarget(text);
    return true;
  } catch {
    return false;
  }
}

/** Digits and dots alone are an IPv4 address or nothing: `127.1` is no name. */
function isIpv4OrName(text: string): boolean {
  return /^[\d.]+$/.test(text) ? isIpv4(text) : isHostName(text);
}
