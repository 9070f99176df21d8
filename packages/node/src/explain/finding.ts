import type { Clock } from '@moat/core';
import type { Explanation, PublicationStatus } from '@moat/admin-api';
import type { ExposedTargets } from '@moat/network';
import type { ProbeDeps } from '../api/probe.ts';
import type { Deployment } from '../deployments/deployment.ts';
import type { PathDeps } from './path.ts';

/** What an explanation is made of on this machine. */
export interface ExplainDeps extends PathDeps {
  readonly open: ProbeDeps['open'];
  readonly clock: Pick<Clock, 'now'>;
  readonly exposed: ExposedTargets;
  readonly publications: (deployment: Deployment) => readonly PublicationStatus[];
}

/** What a step found; the first that finds something decides. */
export type Finding = Pick<Explanation, 'allowed' | 'works' | 'code' | 'reason'> & {
  readonly grant?: number;
  readonly next?: readonly string[];
};
