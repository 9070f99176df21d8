/** To which of a name's services a request goes: by its path, else by the part its client belongs to. */
import { createHash } from 'node:crypto';
import { addressKey } from '@moat/core';
import type { PublishRules } from '@moat/contract';

export interface Destination {
  /** Undefined = the publication's own service. */
  readonly service: string | undefined;
  /** What the service is asked for. */
  readonly target: string;
}

/** `part` says which part of clients an address belongs to; a path rule goes before it. */
export function compileDestinations({
  paths = [],
  split = [],
}: Pick<PublishRules, 'paths' | 'split'>): (target: string, address: string) => Destination {
  const longestFirst = paths.toSorted((a, b) => b.prefix.length - a.prefix.length);
  return (target, address) => {
    const rule = longestFirst.find(({ prefix }) => isBelow(target, prefix));
    if (rule === undefined) return { service: partOf(split, address), target };
    return { service: rule.service, target: rule.strip === true ? without(target, rule.prefix) : target };
  };
}

/** True for the prefix itself and what stands below it: `/api` is no prefix of `/apis`. */
function isBelow(target: string, prefix: string): boolean {
  if (!target.startsWith(prefix)) return false;
  if (prefix.endsWith('/') || target.length === prefix.length) return true;
  const next = target[prefix.length];
  return next === '/' || next === '?';
}

/** Never two slashes at the beginning: a service may take what follows them for a host. */
function without(target: string, prefix: string): string {
  const rest = target.slice(prefix.length);
  return `/${rest.replace(/^\/+/, '')}`;
}

/** The same address is always in the same part, at every gateway and after every restart. */
function partOf(split: NonNullable<PublishRules['split']>, address: string): string | undefined {
  if (split.length === 0) return undefined;
  const digest = createHash('sha256').update(addressKey(address)).digest();
  const place = digest.readUInt32BE(0) % 100;
  let below = 0;
  for (const { service, percent } of split) {
    below += percent;
    if (place < below) return service;
  }
  return undefined;
}
