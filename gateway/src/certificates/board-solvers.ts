/** Proofs that the gateway shows on its public ports: `http-01` on the plain one, `tls-alpn-01` in handshakes. */
import { createChallengeCertificate, type Challenge, type ChallengeSolver } from '@moat/acme';
import type { Clock } from '@moat/core';
import type { ChallengeChange, ShownChallenge } from './challenge-board.ts';

export interface BoardSolversDeps {
  readonly clock: Clock;
  /** Resolves when every process that carries traffic has taken it over. */
  show(change: ChallengeChange): Promise<void>;
}

export interface BoardSolversOptions {
  /** Whether there is a plain port. */
  readonly http: boolean;
}

/** Both solvers, the one that needs no second port first. */
export function createBoardSolvers(deps: BoardSolversDeps, { http }: BoardSolversOptions): ChallengeSolver[] {
  const solver = (
    kind: 'http-01' | 'tls-alpn-01',
    shownOf: (challenge: Challenge) => ShownChallenge | Promise<ShownChallenge>,
  ): ChallengeSolver => ({
    kind,
    solves: (_name, wildcard) => !wildcard,
    present: async (challenge) => deps.show({ shown: [await shownOf(challenge)], hidden: [] }),
    remove: ({ token }) => deps.show({ shown: [], hidden: [token] }).catch(() => undefined),
  });
  const tls = solver('tls-alpn-01', async (challenge) => {
    const pair = await createChallengeCertificate(challenge, deps.clock.now());
    return { kind: 'tls-alpn-01', name: challenge.name, token: challenge.token, pair };
  });
  const plain = solver('http-01', ({ name, token, keyAuthorization }) => ({
    kind: 'http-01',
    name,
    token,
    body: keyAuthorization,
  }));
  return http ? [tls, plain] : [tls];
}
