/** Host names as the gateway compares them: ASCII (IDNA A-labels), lower case, without the final dot. */
import { isLabel } from '@moat/core';

/** Host and optional port of an authority. */
export interface Authority {
  readonly host: string;
  readonly port: number | undefined;
}

/** The comparable form of `text`, or undefined when it is not a DNS name (addresses included). */
export function normaliseHost(text: string): string | undefined {
  if (text.length === 0 || text.length > 254) return undefined;
  const bare = text.endsWith('.') ? text.slice(0, -1) : text;
  if (bare.length > 253) return undefined;
  const host = bare.toLowerCase();
  const labels = host.split('.');
  // A last label of digits only is an IPv4 address (RFC 3696 §2).
  if (!labels.every(isLabel) || /^\d+$/.test(labels.at(-1) ?? '')) return undefined;
  return host;
}

/** `host[:port]` without user information; undefined for anything else, addresses included. */
export function parseAuthority(text: string): Authority | undefined {
  const match = /^([A-Za-z0-9.-]{1,254})(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] === undefined ? undefined : normaliseHost(match[1]);
  if (host === undefined) return undefined;
  const port = match?.[2] === undefined ? undefined : Number(match[2]);
  return port !== undefined && (port < 1 || port > 65_535) ? undefined : { host, port };
}

/** `shop` → `shop.apps.example.com`; a whole name stays as it is. Undefined when it is not a host name. */
export function hostOfName(name: string, domain: string): string | undefined {
  return normaliseHost(name.includes('.') ? name : `${name}.${domain}`);
}

/** True for one label below `domain`. */
export function isUnderDomain(host: string, domain: string): boolean {
  return host.endsWith(`.${domain}`) && isLabel(host.slice(0, -domain.length - 1));
}
