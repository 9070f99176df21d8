/**
 * A contract for who holds an earlier one: its canonical JSON, in which a run of members that stand in the earlier
 * one is `[first, count]` of that one's list. Only members are left out: they are what contracts have hundreds of.
 */
import { canonicalBytes, canonicalize } from './canonical.ts';
import { CONTRACT_LIMITS } from './limits.ts';
import type { Contract, Member } from './schema.ts';

type Run = [first: number, count: number];

/** What {@link parseContract} makes `next` of, where it is given `base` too. */
export function contractDelta(base: Contract, next: Contract): Uint8Array {
  const places = new Map(base.members.map((member, i) => [canonicalize(member), i]));
  const members: (Member | Run)[] = [];
  for (const member of next.members) {
    const place = places.get(canonicalize(member));
    const last = members.at(-1);
    if (place === undefined) members.push(member);
    else if (Array.isArray(last) && last[0] + last[1] === place) last[1] += 1;
    else members.push([place, 1]);
  }
  return canonicalBytes({ ...next, members });
}

/** Puts members of `base` in the place of runs. What is no run of it, or makes too many members, stays as it is, to be judged. */
export function withMembersOf(base: Contract, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || !('members' in value)) return value;
  const entries: unknown = value.members;
  if (!Array.isArray(entries)) return value;
  const members: unknown[] = [];
  for (const entry of entries as readonly unknown[]) {
    if (isRunOf(base, entry)) members.push(...base.members.slice(entry[0], entry[0] + entry[1]));
    else members.push(entry);
    if (members.length > CONTRACT_LIMITS.members) return value;
  }
  return { ...value, members };
}

function isRunOf({ members }: Contract, entry: unknown): entry is Run {
  if (!Array.isArray(entry) || entry.length !== 2 || !entry.every((n) => Number.isInteger(n))) return false;
  const [first, count] = entry as Run;
  return first >= 0 && count > 0 && first + count <= members.length;
}
