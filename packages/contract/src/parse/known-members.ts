/**
 * Members as contracts had them lately. A version changes few of its hundreds of members, and to judge and write one anew
 * takes as long as all the rest of its contract. Bound: as many as two contracts may have.
 */
import { canonicalize, rememberText } from '../canonical.ts';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { Member } from '../schema.ts';

/** By canonical text. Those read last; when they are as many as a contract may have, they take the place of `old`. */
let young = new Map<string, Member>();
let old = new Map<string, Member>();

/** The member with this canonical text. */
export function knownMember(text: string): Member | undefined {
  const known = young.get(text);
  if (known !== undefined) return known;
  const older = old.get(text);
  if (older !== undefined) keep(text, older);
  return older;
}

/** The one that contracts to come share: nobody can change it any more. */
export function rememberMember(member: Member): Member {
  const text = canonicalize(member);
  // Known in canonical order only.
  const known = knownMember(text);
  if (known !== undefined) return known;
  Object.freeze(member.tags);
  if (member.invite !== undefined) Object.freeze(member.invite);
  Object.freeze(member);
  rememberText(member, text);
  keep(text, member);
  return member;
}

function keep(text: string, member: Member): void {
  if (young.size >= CONTRACT_LIMITS.members) [old, young] = [young, new Map()];
  young.set(text, member);
}
