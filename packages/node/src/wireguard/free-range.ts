/** Where a network stands on this machine: in its own range, or in another one where that is taken. Pure. */
import { createHash } from 'node:crypto';
import { MoatError, type DeploymentId } from '@moat/core';

/** Shared address space (RFC 6598): carriers use it, LANs and private networks hardly do. */
const POOL = { first: 100 * 2 ** 24 + 64 * 2 ** 16, prefix: 10 };

interface Range {
  readonly first: number;
  readonly last: number;
}

/**
 * Null where the network's own range is free; else a free one of its size in 100.64.0.0/10, found from the deployment's
 * id so that it is most often the same one.
 * @param taken IPv4 CIDRs, host bits and all.
 * @throws `RANGE_TAKEN` when nothing of that size is free.
 */
export function remapFor(deployment: DeploymentId, network: string, taken: readonly string[]): string | null {
  const ranges = taken.map(rangeOf);
  const isFree = (range: Range): boolean =>
    !ranges.some(({ first, last }) => first <= range.last && range.first <= last);
  if (isFree(rangeOf(network))) return null;
  const prefix = Number(network.split('/')[1]);
  const count = Math.floor(2 ** (prefix - POOL.prefix));
  const size = 2 ** (32 - prefix);
  const start = createHash('sha256').update(`moat/remap/1\0${deployment}`).digest().readUInt32BE(0);
  for (let i = 0; i < Math.min(count, PROBES); i++) {
    const first = POOL.first + ((start + i) % count) * size;
    if (isFree({ first, last: first + size - 1 })) return `${textOf(first)}/${prefix}`;
  }
  throw new MoatError(
    'RANGE_TAKEN',
    `${network} is taken on this machine, and nothing of its size is free in 100.64.0.0/10`,
    {
      next: ['moat wireguard up --netns NAME   gives the network a namespace of its own'],
    },
  );
}

/** Blocks looked at; a machine has a handful of networks. */
const PROBES = 4096;

function rangeOf(cidr: string): Range {
  const [address = '', length = '32'] = cidr.split('/');
  const value = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const size = 2 ** (32 - Number(length));
  const first = Math.floor(value / size) * size;
  return { first, last: first + size - 1 };
}

function textOf(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}
