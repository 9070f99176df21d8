/**
 * Signatures that count nothing, taken out of a proof. Whoever passes a proof on may add some up to its limits; left in
 * for ever they would keep the owners from ever changing again.
 */
import { ownerSetOf } from './genesis.ts';
import { validSignatures } from './quorum.ts';
import type { Genesis, OwnerSet, Succession } from './schema.ts';

/**
 * The same successions with each owner's valid signature once. They were verified; costs as much again, so only what
 * is full is trimmed.
 */
export function trimSuccessions(genesis: Genesis, successions: readonly Succession[]): Succession[] {
  return trimBranch([ownerSetOf(genesis.owners)], successions).successions;
}

interface TrimmedBranch {
  /** In force along the branch, from genesis. */
  readonly owners: readonly OwnerSet[];
  readonly successions: Succession[];
}

function trimBranch(shared: readonly OwnerSet[], successions: readonly Succession[]): TrimmedBranch {
  const owners = [...shared];
  const trimmed = successions.map((succession): Succession => {
    const { head, signatures, merged } = succession;
    const sets = [...owners.slice(-1), ownerSetOf(succession.owners)];
    if (merged === undefined) {
      owners.push(ownerSetOf(succession.owners));
      return { ...succession, signatures: validSignatures(head, signatures, sets) };
    }
    const ended = trimBranch(owners.slice(0, merged.shared + 1), merged.successions);
    const { newest } = merged;
    owners.push(ownerSetOf(succession.owners));
    return {
      ...succession,
      signatures: validSignatures(head, signatures, [...sets, ...ended.owners]),
      merged: {
        ...merged,
        successions: ended.successions,
        newest: { head: newest.head, signatures: validSignatures(newest.head, newest.signatures, ended.owners) },
      },
    };
  });
  return { owners, successions: trimmed };
}
