/** The keeper of proofs on the registry: what it finds is on disk before it counts. */
import { errorCode } from '@moat/core';
import type { AuditEvent } from '../audit/chain.ts';
import type { Intake, NameChange } from '../publications/intake.ts';
import type { NameRegistry } from './registry.ts';
import { ProofKeeper, type ProofKeeperDeps } from './proof-keeper.ts';

export interface KeepProofsParts {
  readonly registry: Pick<NameRegistry, 'list'>;
  readonly intake: Pick<Intake, 'changeNames' | 'keepNames'>;
}

/** A keeper that has not started yet. */
export function keepProofs(
  deps: Pick<ProofKeeperDeps, 'clock' | 'logger' | 'desk' | 'random'>,
  { registry, intake }: KeepProofsParts,
): ProofKeeper {
  /** A full disk keeps what is there; the next round tries again. */
  const change = (host: string, what: NameChange): void => {
    try {
      intake.changeNames(what);
    } catch (err) {
      deps.logger.error({ component: 'gateway.names', host, code: errorCode(err), err }, 'proof not kept');
    }
  };
  return new ProofKeeper({
    ...deps,
    names: () => registry.list(),
    keep: (record, isNews) => {
      if (isNews) change(record.host, { names: [record], audit: [] });
      else intake.keepNames([record]);
    },
    lapse: (record, { code }) => {
      const { host, deployment } = record;
      const event: AuditEvent = {
        action: 'name.released',
        actor: 'gateway',
        subject: host,
        details: { deployment, code },
      };
      change(host, { released: [record], audit: [event] });
    },
  });
}
