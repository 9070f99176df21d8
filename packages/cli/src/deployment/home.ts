/**
 * The deployment of who has no file: `home`, with a plain owner key on this machine and this machine as its only
 * member. An ordinary contract: `moat fmt --from-contract` writes it out.
 */
import { deploymentIdOf, parseDeploymentFile, type DeploymentFile, type Genesis } from '@moat/contract';
import { MoatError, isMoatError, type DeploymentId, type OwnerKey } from '@moat/core';
import { createOwnerKey, sealOwnerKey, writePrivateFile, type OwnerKeyPair } from '@moat/identity';
import { hostname } from 'node:os';
import { toLabel } from '../commands/init.ts';
import type { Context } from '../context.ts';
import { openOwner, ownerKeyPath, type OwnerOptions } from '../owner/open-owner.ts';
import { readOwnerPublicKey } from '../owner/public-key.ts';
import { fileOf, findCurrent, newGenesis, ownerName } from './next-version.ts';
import type { LoadedDeployment } from './select.ts';

export const HOME_NAME = 'home';

/** Who signs: known at once, opened when it comes to signing, and then kept open. */
export interface HomeOwner {
  readonly key: OwnerKey;
  /** Made now, and on disk once it was opened. */
  readonly isNew: boolean;
  open(): Promise<OwnerKeyPair>;
}

/** The owner key at hand, or a new plain one. @throws `KEY_FILE_EXPOSED`, `KEY_FILE_INVALID` */
export async function homeOwner(context: Context, options: OwnerOptions): Promise<HomeOwner> {
  let opened: Promise<OwnerKeyPair> | undefined;
  try {
    const key = await readOwnerPublicKey(context, options);
    return { key, isNew: false, open: () => (opened ??= openOwner(context, options)) };
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_MISSING')) throw error;
  }
  const pair = createOwnerKey();
  const path = ownerKeyPath(context, options);
  const write = async (): Promise<OwnerKeyPair> => {
    await writePrivateFile(path, sealOwnerKey(pair, null), { replace: false });
    const { progress, style } = context;
    progress.say(`${style.attention} made an owner key: ${path}, plain: whoever can read it is the owner`);
    return pair;
  };
  return { key: pair.key, isNew: true, open: () => (opened ??= write()) };
}

/** The deployment that a verb without a file works on. */
export interface Home {
  readonly id: DeploymentId;
  /** Null until it is made. */
  readonly current: LoadedDeployment | null;
  /** Of one that is to be made. */
  readonly genesis?: Genesis;
  /** What runs, or what it begins with. */
  readonly file: DeploymentFile;
  /** What this machine is called in it. */
  readonly member: string;
}

/**
 * `home`, or the network named by `wanted`, which must be there. Makes nothing yet.
 * @throws `NOT_A_MEMBER`, `DEPLOYMENT_UNKNOWN`, `DEPLOYMENT_AMBIGUOUS`, `OWNER_KEY_FOREIGN`, `AGENT_NOT_RUNNING`
 */
export async function findHome(context: Context, owner: OwnerKey, wanted: string | undefined): Promise<Home> {
  const current = await findCurrent(context, { name: HOME_NAME }, owner, wanted);
  if (current !== null) {
    const { member, id, name } = current.detail;
    if (member !== null) return { id, current, file: fileOf(current), member };
    throw new MoatError('NOT_A_MEMBER', `this machine has no place in ${name}`, {
      reason: 'a port of this machine is published by a network that this machine belongs to',
      next: [`moat invite MEMBER -n ${name}   and moat join, here`],
    });
  }
  const { peerId } = await context.agent.status();
  const member = toLabel(hostname().split('.')[0] ?? '', 'this-machine');
  const text = `version: 1\nname: ${HOME_NAME}\nmembers: { ${member}: { node: ${peerId}, keeper: true } }\n`;
  const { file, diagnostics } = parseDeploymentFile(text, HOME_NAME);
  if (file === undefined) throw new MoatError('FILE_INVALID', diagnostics[0]?.message ?? 'home cannot be written');
  const genesis = newGenesis(file, [{ name: ownerName(), key: owner }]);
  return { id: deploymentIdOf(genesis), current: null, genesis, file, member };
}
