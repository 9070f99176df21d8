/** Which members a part of the contract speaks of: a member's name, `tag:<tag>` for all that carry the tag, keepers. */
import type { PeerId } from '@moat/core';
import type { Contract, Member } from './schema.ts';

const TAG_PREFIX = 'tag:';

/** The tag a selector names, or undefined when it names a member. */
export function tagOf(selector: string): string | undefined {
  return selector.startsWith(TAG_PREFIX) ? selector.slice(TAG_PREFIX.length) : undefined;
}

/** The members that any of the selectors names, in the contract's order, each once. */
export function resolveMembers(contract: Pick<Contract, 'members'>, selectors: readonly string[]): Member[] {
  const names = new Set(selectors);
  const tags = new Set(selectors.flatMap((selector) => tagOf(selector) ?? []));
  return contract.members.filter((member) => names.has(member.name) || member.tags.some((tag) => tags.has(tag)));
}

/** Pinned keepers, who alone may witness claims; sorted. */
export function witnessesOf(contract: Pick<Contract, 'members'>): PeerId[] {
  return contract.members.flatMap(({ keeper, node }) => (keeper === true && node !== undefined ? [node] : [])).sort();
}
