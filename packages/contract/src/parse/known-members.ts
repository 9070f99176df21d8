/**
 * Members as contracts had them lately. A version changes few of its hundreds of members, and to judge and write one anew
 * takes as long as all the rest of its contract. Bound: as many as two contracts may have.
 */
import { canonicalize, rememberText } from '../canonical.ts';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { Member } from '../schema.ts';
import type { z } from 'zod';

/** By canonical text. Those read last; when they are as many as a contract may have, they take the place of `old`. */
let young = new Map<string, Member>();
let old = new Map<string, Member>();

/** All that were judged and frozen: one that a delta hands on from an earlier contract is not read again. */
const frozen = new WeakSet<object>();

/** The members that a contract's JSON lists, only those judged that were not known; undefined where something is wrong. */
export function knownMembers(input: unknown, schema: z.ZodType<Member>): Member[] | undefined {
  if (!Array.isArray(input) || input.length === 0 || input.length > CONTRACT_LIMITS.members) return undefined;
  const members: Member[] = [];
  for (const raw of input as readonly unknown[]) {
    const member = isKnown(raw) ? raw : (recall(JSON.stringify(raw)) ?? judged(raw, schema));
    if (member === undefined) return undefined;
    members.push(member);
  }
  return members;
}

function isKnown(raw: unknown): raw is Member {
  return typeof raw === 'object' && raw !== null && frozen.has(raw);
}

function recall(text: string): Member | undefined {
  const known = young.get(text);
  if (known !== undefined) return known;
  const older = old.get(text);
  if (older !== undefined) keep(text, older);
  return older;
}

/** The one that contracts to come share: nobody can change it any more. */
function judged(raw: unknown, schema: z.ZodType<Member>): Member | undefined {
  const { data: member } = schema.safeParse(raw);
  if (member === undefined) return undefined;
  const text = canonicalize(member);
  // Known in canonical order only.
  const known = recall(text);
  if (known !== undefined) return known;
  Object.freeze(member.tags);
  if (member.invite !== undefined) Object.freeze(member.invite);
  frozen.add(Object.freeze(member));
  rememberText(member, text);
  keep(text, member);
  return member;
}

function keep(text: string, member: Member): void {
  if (young.size >= CONTRACT_LIMITS.members) [old, young] = [young, new Map()];
  young.set(text, member);
}
