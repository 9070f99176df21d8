/** The solver of `dns-01` that puts its answers into the gateway's own zone. */
import { challengeRecord, type Challenge, type ChallengeSolver } from '@moat/acme';
import type { DnsChallenges } from './challenges.ts';

/** Shows proofs of `dns-01`. @param serves whether our name servers answer for `_acme-challenge` of a host */
export function createDnsSolver(challenges: DnsChallenges, serves: (host: string) => boolean): ChallengeSolver {
  const valueOf = (challenge: Challenge): string => challengeRecord(challenge).value;
  return {
    kind: 'dns-01',
    solves: (name) => serves(name),
    present: async (challenge) => challenges.add(challenge.name, valueOf(challenge)),
    remove: async (challenge) => challenges.remove(challenge.name, valueOf(challenge)),
  };
}
