/** `moat sign`: one owner's signature under a version that waits for it. */
import {
  checkProposal,
  parseContract,
  parseHeadProof,
  parseProposal,
  planChanges,
  proposalId,
  proposalStanding,
  signProposal,
  type Contract,
  type Proposal,
  type ProposalBase,
  type ProposalStanding,
} from '@moat/contract';
import { MoatError, isMoatError } from '@moat/core';
import type { Command } from 'commander';
import { existsSync } from 'node:fs';
import type { Context } from '../context.ts';
import {
  beforeOf,
  parseProposalFile,
  writeProposalFile,
  type Before,
  type ProposalFile,
} from '../deployment/proposal-file.ts';
import { NETWORK_OPTION, loadDeployment, selectDeployment, type LoadedDeployment } from '../deployment/select.ts';
import { decidingKeys, giveProposal } from '../deployment/submit.ts';
import { readFileOrStdin, replaceFile, resolvePath } from '../input/files.ts';
import { isMeant, ownerNames, shortId, standingText } from '../output/proposal.ts';
import { renderPlan } from '../output/render-plan.ts';
import { loadAsOwner, openOnce, type AsOwner, type OpenKey } from '../owner/as-owner.ts';
import { OWNER_OPTIONS, openOwner, type OwnerOptions } from '../owner/open-owner.ts';
import { addVerb, type Outcome, type VerbRunner } from '../verb.ts';

interface SignOptions extends OwnerOptions {
  readonly network?: string;
  readonly out?: string;
  readonly yes?: boolean;
  readonly offline?: boolean;
}

export function addSign(program: Command, runner: VerbRunner): void {
  addVerb<SignOptions>(
    program,
    runner,
    {
      usage: 'sign <proposal>',
      summary: 'adds your signature to a version that other owners wait for',
      group: 'Deploy',
      orDev: true,
      examples: [
        ['moat sign Kx3fT2', 'one of moat proposals, by the beginning of its id; shows it and asks'],
        ['moat sign change.json', 'a file of moat apply --out; the signed form replaces it'],
        ['moat sign - < change.json > signed.json', 'through a pipe; without any network'],
      ],
      options: [
        { flags: '-y, --yes', text: 'sign without asking' },
        { flags: '--out <file>', text: 'where the signed file goes instead' },
        { flags: '--offline', text: 'where yours is the last signature: although no keeper is in reach' },
        NETWORK_OPTION,
        ...OWNER_OPTIONS,
      ],
    },
    sign,
  );
}

/** What is to be signed, and what is known about it. */
interface Subject extends AsyncDisposable {
  readonly proposal: Proposal;
  readonly before: Before | null;
  /** The deployment here; null on a machine that does not hold it. */
  readonly current: LoadedDeployment | null;
  /** Where the signed form goes besides the keepers. */
  readonly file: string | null;
}

/** What a proposal follows, with its proof. */
type KnownBase = Required<ProposalBase>;

async function sign(context: Context, [which = '']: readonly string[], options: SignOptions): Promise<Outcome> {
  const { io, style, prompt, progress } = context;
  const open = openOnce(() => openOwner(context, options));
  const isFile = which === '-' || existsSync(resolvePath(io, which)) || /[/.]/.test(which);
  await using subject = isFile
    ? await fromFile(context, which, open, options)
    : await fromKeepers(context, which, open, options);
  const { proposal, current, file } = subject;
  if (current !== null && isInForce(current, proposal)) return inForce(context, proposal);
  const base = await baseOf(context, subject);
  const known = base?.contract ?? null;
  if (base !== null) checkProposal(base, base.proof.genesis, proposal);

  showPlan(context, proposal, known);
  await prompt.confirm('Sign this?', [facts(proposal, known)]);
  const owner = await open();
  if (!decidingKeys(proposal, base).has(owner.key)) {
    throw new MoatError('OWNER_KEY_FOREIGN', `${owner.key} has nothing to say in this version`, {
      next: ['name the key of an owner with --key FILE'],
    });
  }
  const signed = signProposal(proposal, owner.signer);
  const text = writeProposalFile({ proposal: signed, before: subject.before });
  if (file !== null && file !== '-') await replaceFile(io, file, text);
  const toStdout = file === '-';
  if (current === null) {
    progress.say(`${style.ok} signed; hand it back to whoever sent it`);
    return signedOutcome(context, signed, proposalStanding(signed, base), {
      known,
      file,
      stdout: toStdout ? text : null,
    });
  }
  const keep = file === null ? {} : { keep: () => Promise.resolve() };
  const on = base === null ? {} : { base };
  const given = await giveProposal(context, [owner], current, signed, {
    offline: options.offline === true,
    ...keep,
    ...on,
  });
  if (given.state === 'accepted') return inForce(context, signed);
  const { standing } = given.waiting;
  return signedOutcome(context, signed, standing, { known, file, stdout: toStdout ? text : null });
}

/** One that waits at a keeper. @throws `PROPOSAL_UNKNOWN`, `USAGE` */
async function fromKeepers(
  context: Context,
  id: string,
  open: OpenKey,
  { network, out }: SignOptions,
): Promise<Subject> {
  const { agent, io } = context;
  const view = await loadAsOwner(context, loadDeployment, await selectDeployment(agent, network), open, {
    always: true,
  });
  const { id: deployment, name } = view.current.detail;
  const { proposals } = await agent.proposals(deployment, { signal: io.signal });
  const fitting = proposals.filter((one) => isMeant(one.id, id));
  const [only] = fitting;
  if (only === undefined || fitting.length > 1) {
    await view[Symbol.asyncDispose]();
    throw new MoatError(
      'PROPOSAL_UNKNOWN',
      `${fitting.length === 0 ? 'no' : 'more than one'} proposal of ${name} begins with ${id}`,
      {
        next: ['moat proposals', 'or sign a file: moat sign FILE'],
      },
    );
  }
  const detail = await agent.proposal(deployment, only.id, { signal: io.signal });
  return subjectOf(view, { proposal: parseProposal(detail.proposal), before: null }, out ?? null);
}

/** Needs no agent: without one the signed form is the result. */
async function fromFile(context: Context, path: string, open: OpenKey, { out }: SignOptions): Promise<Subject> {
  const read = parseProposalFile(await readFileOrStdin(context.io, path));
  const file = out ?? path;
  const { deployment } = read.proposal.contract;
  const isHere = await isHeld(context, deployment);
  const view = isHere ? await loadAsOwner(context, loadDeployment, deployment, open, { evenForked: true }) : null;
  return subjectOf(view, read, file);
}

function subjectOf(view: AsOwner | null, { proposal, before }: ProposalFile, file: string | null): Subject {
  const current = view?.current ?? null;
  const shown = before ?? (current === null ? null : beforeOf(current));
  return {
    proposal,
    before: shown,
    current,
    file,
    [Symbol.asyncDispose]: async () => view?.[Symbol.asyncDispose](),
  };
}

/** The version it follows: in force here, on the other branch of a fork, or as its file shows it; null = not known. */
async function baseOf({ agent }: Context, { proposal, before, current }: Subject): Promise<KnownBase | null> {
  const shown = before === null ? null : { ...before, head: before.proof.newest.head };
  if (current === null) return shown;
  const held = { contract: current.contract, head: current.proof.newest.head, proof: current.proof };
  if (proposal.merged === undefined || proposal.head.previous === current.detail.head) return held;
  const branches = await agent.branches(current.detail.id);
  const branch = branches.find(({ head }) => head === proposal.head.previous);
  if (branch === undefined || branch.contract === null) return held;
  const proof = parseHeadProof(branch.proof);
  return { contract: parseContract(branch.contract), head: proof.newest.head, proof };
}

async function isHeld({ agent }: Context, deployment: string): Promise<boolean> {
  try {
    return (await agent.deployments()).some(({ id }) => id === deployment);
  } catch (error) {
    if (isMoatError(error, 'AGENT_NOT_RUNNING')) return false;
    throw error;
  }
}

function isInForce({ detail, contract }: LoadedDeployment, proposal: Proposal): boolean {
  return (
    detail.head === proposalId(proposal) || (contract.version > proposal.head.version && sealed(detail.head, proposal))
  );
}

function sealed(head: string, { seal }: Proposal): boolean {
  return seal !== undefined && proposalId({ head: seal.head }) === head;
}

function showPlan({ io, json, style, progress }: Context, { contract }: Proposal, known: Contract | null): void {
  const plan = renderPlan(planChanges(known, contract), known, contract, style);
  if (!json) io.stderr.write(`${plan}\n`);
  if (known === null) {
    progress.say(
      `${style.attention} this machine does not hold ${contract.name}: all of it is shown, not what changes`,
    );
  }
}

function facts({ signatures, contract }: Proposal, known: Contract | null): string {
  const names = ownerNames(
    signatures.map(({ key }) => key),
    known,
    contract,
  );
  return names.length === 0 ? 'nobody has signed it yet' : `signed by ${names.join(', ')}`;
}

function inForce({ style }: Context, { contract, head }: Proposal): Outcome {
  const { deployment, name } = contract;
  return {
    kind: 'signed',
    data: { deployment, name, version: head.version, id: proposalId({ head }), inForce: true, missing: [] },
    text: `${style.ok} version ${head.version} of ${name} is in force`,
  };
}

function signedOutcome(
  { style }: Context,
  proposal: Proposal,
  standing: ProposalStanding,
  {
    known,
    file,
    stdout,
  }: { readonly known: Contract | null; readonly file: string | null; readonly stdout: string | null },
): Outcome {
  const { contract, head } = proposal;
  const { deployment, name } = contract;
  const id = proposalId(proposal);
  const missing = ownerNames(standing.missing, known, contract);
  const next = standing.met
    ? `moat sign ${file ?? shortId(id)}   on a machine that holds ${name} puts it in force`
    : `moat sign ${file ?? shortId(id)}   by ${missing.join(' or ')}`;
  return {
    kind: 'signed',
    data: {
      deployment,
      name,
      version: head.version,
      id,
      inForce: false,
      ...standing,
      newOwners: standing.newOwners ?? null,
      file,
      ...(stdout === null ? {} : { proposal: JSON.parse(stdout) as unknown }),
    },
    text:
      stdout?.trimEnd() ??
      [
        `${style.ok} version ${head.version} of ${name} has your signature: ${standingText(standing)}`,
        `  ${style.dim('Next')}  ${next}`,
      ].join('\n'),
  };
}
