/**
 * IPv6 addresses inside a network: derived, so nobody allocates them (RFC 4193: `fd`, 40 bits that set this
 * network apart, 16 bits of subnet, 64 bits of host).
 */
import { createHash } from 'node:crypto';
import { MoatError, isDeploymentId, type DeploymentId } from '@moat/core';

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

/**
 * The deployment's network: `fd`, the id's first 40 bits, subnet 0, as `fdxx:xxxx:xxxx::/64`.
 * @throws `GENESIS_MISMATCH` unless the id is a deployment id.
 */
export function ipv6NetworkOf(deployment: DeploymentId): string {
  return `${compress(prefixOf(deployment))}/64`;
}

/**
 * A member's address in RFC 5952 form: its network and the first 64 bits of
 * `SHA-256("moat/ipv6/1" || 0x00 || deployment || 0x00 || member)`.
 * @throws `GENESIS_MISMATCH` unless the id is a deployment id.
 */
export function ipv6Of(deployment: DeploymentId, member: string): string {
  const groups = prefixOf(deployment);
  const digest = createHash('sha256').update(`moat/ipv6/1\0${deployment}\0${member}`).digest();
  for (let i = 0; i < 4; i++) groups[4 + i] = digest.readUInt16BE(i * 2);
  return compress(groups);
}

/** Eight groups of 16 bits, the last five zero. */
function prefixOf(deployment: DeploymentId): number[] {
  if (!isDeploymentId(deployment)) throw new MoatError('GENESIS_MISMATCH', 'not a deployment id');
  // Eight characters of base32 are exactly the first 40 bits of the id.
  let bits = 0xfdn;
  for (const character of deployment.slice(0, 8)) bits = (bits << 5n) | BigInt(BASE32.indexOf(character));
  const groups = [32n, 16n, 0n].map((shift) => Number((bits >> shift) & 0xffffn));
  return [...groups, 0, 0, 0, 0, 0];
}

/** RFC 5952: the longest run of two or more zero groups, the first of equals, becomes `::`. */
function compress(groups: readonly number[]): string {
  let start = -1;
  let length = 1;
  for (let i = 0; i < groups.length; i++) {
    let end = i;
    while (groups[end] === 0) end++;
    if (end - i > length) [start, length] = [i, end - i];
  }
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  return start < 0 ? hex(groups) : `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}
