/**
 * The next version of a deployment, made from a file and what runs now. Every verb that changes a
 * deployment comes through here, so that verb and file build the same object.
 */
import {
  buildContract,
  createGenesis,
  deploymentIdOf,
  fileFromContract,
  ownerSetOf,
  ownersOf,
  parseDeploymentFile,
  planChanges,
  planWarnings,
  resolvePlaces,
  type BuildInput,
  type Change,
  type Contract,
  type DeploymentFile,
  type Genesis,
  type PlanWarning,
} from '@moat/contract';
import { MoatError, type OwnerKey } from '@moat/core';
import { randomBytes } from 'node:crypto';
import { userInfo } from 'node:os';
import type { Context } from '../context.ts';
import { loadDeployment, type LoadedDeployment } from './select.ts';
import type { Predecessor } from './submit.ts';

/** What a version will be, before anybody signs it. */
export interface NextVersion {
  readonly predecessor: Predecessor;
  /** The running version's own object when nothing changes. */
  readonly contract: Contract;
  /** Empty when nothing changes. */
  readonly changes: readonly Change[];
  readonly warnings: readonly PlanWarning[];
}

type Extras = Pick<BuildInput, 'gateways' | 'anchors' | 'invites' | 'pins' | 'secrets' | 'deviceKeys'> & {
  /** Of a new deployment; made here where absent. */
  readonly genesis?: Genesis;
};

/** The version that makes `file` true. `current` null = a new deployment. */
export function nextVersion(
  context: Context,
  file: DeploymentFile,
  current: LoadedDeployment | null,
  owner: OwnerKey,
  { genesis: given, ...extras }: Extras = {},
): NextVersion {
  const ownerKeys = [{ name: ownerName(), key: owner }];
  const genesis = current === null ? (given ?? newGenesis(file, ownerKeys)) : undefined;
  const contract = buildContract({
    file,
    deployment: genesis === undefined ? (current?.contract.deployment ?? '') : deploymentIdOf(genesis),
    current: current?.contract ?? null,
    claims: current?.claims ?? [],
    ownerKeys,
    now: context.io.now(),
    random: (bytes) => randomBytes(bytes),
    ...extras,
  });
  const from = current?.contract ?? null;
  return {
    predecessor: genesis === undefined ? (current as LoadedDeployment) : { genesis },
    contract,
    changes: contract === from ? [] : planChanges(from, contract),
    warnings: warningsOf(context, current, contract),
  };
}

function warningsOf({ io }: Context, current: LoadedDeployment | null, to: Contract): readonly PlanWarning[] {
  const now = io.now();
  if (current === null) return planWarnings({ from: null, to, now });
  const places = resolvePlaces(current.contract, current.claims, now);
  return planWarnings({ from: current.contract, to, places, now });
}

/** Of a deployment that begins now; the file's owners, else these keys. */
export function newGenesis(file: DeploymentFile, ownerKeys: BuildInput['ownerKeys']): Genesis {
  return createGenesis(ownerSetOf(ownersOf(file, null, ownerKeys)), randomBytes(16));
}

/** What runs now, as the file that would make it. */
export function fileOf({ contract }: LoadedDeployment): DeploymentFile {
  const { file, diagnostics } = parseDeploymentFile(fileFromContract(contract), contract.name);
  if (file !== undefined) return file;
  throw new MoatError('CONTRACT_INVALID', `version ${contract.version} cannot be written as a file`, {
    reason: diagnostics[0]?.message ?? 'unknown',
  });
}

/**
 * The deployment a file is about: named by `--network`, else of the file's name and owned by this key.
 * Null = none yet.
 * @throws `DEPLOYMENT_UNKNOWN`, `DEPLOYMENT_AMBIGUOUS`, `OWNER_KEY_FOREIGN`, `AGENT_NOT_RUNNING`
 */
export async function findCurrent(
  context: Context,
  file: Pick<DeploymentFile, 'name'>,
  owner: OwnerKey,
  wanted: string | undefined,
): Promise<LoadedDeployment | null> {
  const all = await context.agent.deployments();
  const name = wanted ?? file.name;
  const fitting = all.filter((one) => (one.name === name || one.id === wanted) && one.state !== 'ended');
  const loaded = await Promise.all(fitting.map(({ id }) => loadDeployment(context, id)));
  const own = loaded.filter(({ contract }) => contract.owners.keys.some(({ key }) => key === owner));
  const [only] = own;
  if (own.length === 1 && only !== undefined) return only;
  if (own.length > 1) {
    throw new MoatError('DEPLOYMENT_AMBIGUOUS', `you own ${own.length} deployments called ${name}`, {
      next: own.map(({ detail }) => `--network ${detail.id}`),
    });
  }
  if (loaded.length > 0) {
    throw new MoatError('OWNER_KEY_FOREIGN', `${name} is a deployment of other owners`, {
      reason: `your key ${owner} is not among them`,
      next: ['give the file another name', 'or name the key of an owner with --key FILE'],
    });
  }
  if (wanted === undefined) return null;
  throw new MoatError('DEPLOYMENT_UNKNOWN', `this machine’s agent has no network ${wanted}`, { next: ['moat status'] });
}

/** The name under which a first owner appears; a label. */
export function ownerName(): string {
  const name = userInfo()
    .username.toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-');
  return name.replaceAll(/^-+|-+$/g, '').slice(0, 63) || 'owner';
}
