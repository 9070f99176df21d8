/** How a version reads that waits for signatures. */
import type { Contract, ProposalStanding } from '@moat/contract';
import type { Waiting } from '../deployment/submit.ts';
import type { Outcome } from '../verb.ts';
import type { Style } from './style.ts';

/** As much of an id as tells proposals apart and can be typed: never with a hyphen in front, as a flag has. */
export function shortId(id: string): string {
  return withoutHyphen(id).slice(0, 12);
}

/** True when `id` is meant by what was typed. */
export function isMeant(id: string, typed: string): boolean {
  return typed !== '' && withoutHyphen(id).startsWith(withoutHyphen(typed));
}

function withoutHyphen(id: string): string {
  return id.replace(/^-+/, '');
}

/** `signed 1 of 2`, and of the new owners where they change. */
export function standingText({
  weight,
  threshold,
  newOwners,
}: Pick<ProposalStanding, 'weight' | 'threshold' | 'newOwners'>): string {
  const isSame = newOwners === undefined || (newOwners.weight === weight && newOwners.threshold === threshold);
  return `signed ${weight} of ${threshold}${isSame ? '' : `, and ${newOwners.weight} of ${newOwners.threshold} of the new owners`}`;
}

/** Owners by their names in the versions before and after; a key alone where neither names it. */
export function ownerNames(keys: readonly string[], ...contracts: readonly (Contract | null)[]): string[] {
  const names = new Map(
    contracts.flatMap((each) => each?.owners.keys.map(({ key, name }) => [key, name] as const) ?? []),
  );
  return keys.map((key) => names.get(key) ?? key);
}

/** What a verb says whose version is not in force yet. */
export function proposedOutcome(
  style: Style,
  { id, proposal, standing, atKeepers }: Waiting,
  before: Contract | null,
  file: string | null,
): Outcome {
  const { contract } = proposal;
  const { deployment, name, version } = contract;
  const namesOf = (keys: readonly string[]): string[] => ownerNames(keys, before, contract);
  const missing = namesOf(standing.missing);
  // Keepers let in owners of the version in force.
  const isOwner = (key: string): boolean => before?.owners.keys.some((owner) => owner.key === key) ?? false;
  const owners = namesOf(standing.missing.filter(isOwner));
  const newcomers = namesOf(standing.missing.filter((key) => !isOwner(key)));
  const ways = [
    ...(atKeepers && owners.length > 0 ? [`moat sign ${shortId(id)}   on the machine of ${owners.join(' or ')}`] : []),
    ...(file === null ? [] : [`moat sign ${file}   there, once you have handed it over`]),
    ...(file === null && newcomers.length > 0
      ? [
          `moat apply --out change.json   a file for ${newcomers.join(' and ')} to sign: keepers let in who is an owner now`,
        ]
      : []),
    ...(atKeepers ? ['moat proposals   what waits'] : []),
  ];
  return {
    kind: 'proposed',
    data: { deployment, name, version, id, ...standing, newOwners: standing.newOwners ?? null, atKeepers, file },
    text: [
      `${style.attention} version ${version} of ${name} is proposed, not in force: ${standingText(standing)}`,
      `  ${style.dim('Missing')}  ${missing.join(', ')}`,
      ...ways.map((way, i) => `  ${style.dim(i === 0 ? 'Next   ' : '       ')}  ${way}`),
    ].join('\n'),
  };
}
