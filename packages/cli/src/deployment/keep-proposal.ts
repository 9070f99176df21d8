/** Work that may end as a proposal, and the file that then holds it. */
import type { Contract } from '@moat/contract';
import type { Context } from '../context.ts';
import { reserveFile } from '../input/files.ts';
import { proposedOutcome } from '../output/proposal.ts';
import type { Outcome } from '../verb.ts';
import { beforeOf, writeProposalFile } from './proposal-file.ts';
import type { LoadedDeployment } from './select.ts';
import type { SubmitOptions, Submitted, Waiting } from './submit.ts';

export interface KeptProposal {
  readonly submitted: Submitted;
  /** What to say where it waits. */
  readonly proposed: (waiting: Waiting) => Outcome;
}

/**
 * Runs `submit`; where that leaves a proposal, `out` holds it. Taken first, so that no signature is made for a file that
 * cannot be written, and free again when the version is in force at once.
 * @throws `FILE_EXISTS`, `FILE_UNREADABLE`, and what `submit` throws.
 */
export async function withProposalFile(
  { io, style }: Context,
  out: string | undefined,
  current: LoadedDeployment | null,
  submit: (options: Pick<SubmitOptions, 'keep'>) => Promise<Submitted>,
): Promise<KeptProposal> {
  const before: Contract | null = current?.contract ?? null;
  const proposed = (waiting: Waiting): Outcome => proposedOutcome(style, waiting, before, out ?? null);
  if (out === undefined) return { submitted: await submit({}), proposed };
  await using file = await reserveFile(io, out, 0o644);
  const submitted = await submit({
    keep: (proposal) => file.fill(writeProposalFile({ proposal, before: current === null ? null : beforeOf(current) })),
  });
  return { submitted, proposed };
}
