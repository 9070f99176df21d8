/** Selectors of members: a member's name, or `tag:<tag>` for all that carry the tag. */
import type { Contract, Member } from './schema.ts';

const TAG_PREFIX = 'tag:';

/** The tag a selector names, or undefined when it names a member. */
export function tagOf(selector: string): string | undefined {
  return selector.startsWith(TAG_PREFIX) ? selector.slice(TAG_PREFIX.length) : undefined;
}

/** The members that any of the selectors names, in the contract's order, each once. */
export function resolveMembers(contract: Pick<Contract, 'members'>, selectors: readonly string[]): Member[] {
  const wanted = new Set(selectors);
  return contract.members.filter(
    (member) => wanted.has(member.name) || member.tags.some((tag) => wanted.has(TAG_PREFIX + tag)),
  );
}
