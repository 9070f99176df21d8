/** IPv6 addresses inside a network: derived, so nobody allocates them. */
import type { DeploymentId } from '@moat/core';

/** The deployment's prefix, `fd` and the id's first 40 bits, as `fdxx:xxxx:xxxx::/64`. */
export function ipv6NetworkOf(deployment: DeploymentId): string {
  throw new Error(deployment);
}

/** A member's address in RFC 5952 form: {@link ipv6NetworkOf} and 64 bits of SHA-256 over deployment and name. */
export function ipv6Of(deployment: DeploymentId, member: string): string {
  throw new Error(deployment + member);
}
