/**
 * What the next version takes over from the current one, by name: pins, salts, addresses, and instants that
 * were relative once. So applying a file twice changes nothing.
 */
import { createHash } from 'node:crypto';
import { ownersHash } from '../genesis.ts';
import type { Contract, Egress, GatewayPin, Grant, OwnerSet, PublishLine } from '../schema.ts';
import { CLOCK_TOLERANCE_MS, formatTime, parseTime } from '../time.ts';
import type { Expiry } from './duration.ts';
import type { DeploymentFile, FileEgress, FileGrant } from './file.ts';

/**
 * Domains of gateways that neither the file nor the current version pins, or whose pin lacks the box key that a
 * line needs; each once.
 */
export function gatewaysToResolve(file: DeploymentFile, current: Contract | null): string[] {
  const domains = file.publish.flatMap(({ name, gateways, auth }) =>
    gateways.flatMap((gateway) => {
      if (typeof gateway !== 'string') return [];
      const pin = pinOf(name, gateway, file, current);
      return pin === undefined || ((auth?.basic ?? auth?.oidc) !== undefined && pin.box === undefined) ? gateway : [];
    }),
  );
  return [...new Set(domains)];
}

/** Hosts of anchors that the current version has no address of; each once. */
export function anchorsToResolve(file: DeploymentFile, current: Contract | null): string[] {
  const hosts = file.anchors.filter(
    (anchor) => !anchor.startsWith('/') && carriedAnchors(anchor, current).length === 0,
  );
  return [...new Set(hosts)];
}

/** The pin this line has at this domain now, or another line has, now or in the file. */
export function pinOf(
  name: string,
  domain: string,
  file: DeploymentFile,
  current: Contract | null,
): GatewayPin | undefined {
  const there = current?.publish.filter(({ gateway }) => gateway.domain === domain) ?? [];
  const written = file.publish.flatMap(({ gateways }) => gateways.filter((gateway) => typeof gateway !== 'string'));
  return (
    (there.find((line) => line.name === name) ?? there[0])?.gateway ?? written.find((pin) => pin.domain === domain)
  );
}

/** The current anchors whose address begins with this host. */
export function carriedAnchors(host: string, current: Contract | null): readonly string[] {
  return current?.anchors.filter((anchor) => anchor.split('/', 3)[2] === host) ?? [];
}

/** The current line of this name at this domain: its salt and its boxed secret are made once. */
export function carriedLine(name: string, domain: string, current: Contract | null): PublishLine | undefined {
  return current?.publish.find((line) => line.name === name && line.gateway.domain === domain);
}

/**
 * An expiry as an instant. A relative one is fixed when it is first applied and stays, unless the file now asks
 * for an end sooner than that: then it is fixed anew. (To prolong, write an instant: a file that says `30d` for
 * a year must not renew itself with each apply.)
 * @param now milliseconds since 1970.
 */
export function fixExpiry(expires: Expiry | undefined, carried: string | undefined, now: number): string | undefined {
  if (expires === undefined) return undefined;
  if ('at' in expires) return expires.at;
  const latestMs = now + expires.afterMs;
  if (carried !== undefined && parseTime(carried) <= latestMs + CLOCK_TOLERANCE_MS) return carried;
  return formatTime(latestMs);
}

/** Access lines of the current version by whom they let reach what; each is taken over once. */
export class CarriedGrants {
  readonly #lines = new Map<string, Grant[]>();

  constructor(current: Contract | null) {
    for (const line of current?.access ?? []) {
      const key = keyOf(line);
      this.#lines.set(key, [...(this.#lines.get(key) ?? []), line]);
    }
  }

  take(line: FileGrant): Grant | undefined {
    return this.#lines.get(keyOf(line))?.shift();
  }
}

/** The current line of the same members through the same member; the first of equals. */
export function carriedEgress({ from, via }: FileEgress, current: Contract | null): Egress | undefined {
  const key = keyOf({ from, to: [via] });
  return current?.egress?.find((line) => keyOf({ from: line.from, to: [line.via] }) === key);
}

/**
 * The network of a deployment that names none: one of 128 in 10/8, so that two on a machine seldom overlap. Of name
 * and first owners, which a plan knows before the deployment has an id.
 */
export function defaultNetwork(name: string, owners: OwnerSet): string {
  const [byte = 0] = createHash('sha256')
    .update(`moat/network/1\0${name}\0${ownersHash(owners)}`)
    .digest();
  return `10.${64 + (byte & 127)}.0.0/16`;
}

function keyOf({ from, to }: Pick<Grant, 'from' | 'to'>): string {
  return JSON.stringify([[...from].sort(), [...to].sort()]);
}
