/** A change made by words of the command line instead of the file: the same way to the same object. */
import { parseDeploymentFile, type DeploymentFile, type Genesis } from '@moat/contract';
import type { OwnerKeyPair } from '@moat/identity';
import type { Context } from '../context.ts';
import { spendCode } from './gateway-code.ts';
import { nextVersion } from './next-version.ts';
import { COMMAND_LINE, resolvePins } from './resolve-online.ts';
import type { LoadedDeployment } from './select.ts';
import { requireAlone, submitVersion, type Submitted } from './submit.ts';

export interface VerbChange {
  /** What runs now; null makes a new deployment of `genesis`. */
  readonly current: LoadedDeployment | null;
  readonly genesis?: Genesis;
  /** What is to run. */
  readonly file: DeploymentFile;
  /** WireGuard keys of devices, by member. */
  readonly deviceKeys?: ReadonlyMap<string, string>;
  /** As `resolvePins` takes it. */
  readonly askAt?: ReadonlyMap<string, string>;
  /** For what only makes sense at once: refused where one signature does not put it in force. */
  readonly atOnce?: boolean;
  /** Invite code for one gateway. */
  readonly code?: { readonly file: string | undefined; readonly domain: string };
}

/**
 * Makes `file` true. `open` is called once everything is known that can go wrong before a signature.
 * Undefined when it is true already.
 * @throws as `resolvePins`, `nextVersion` and `submitVersion`; `QUORUM_MISSING` before anything is signed or sent
 */
export async function changeByVerb(
  context: Context,
  owner: { readonly key: string; readonly open: () => Promise<OwnerKeyPair> },
  { current, genesis, file, deviceKeys = new Map(), askAt = new Map(), atOnce = false, code }: VerbChange,
): Promise<Submitted | undefined> {
  const { locate } = parseDeploymentFile('', COMMAND_LINE);
  const read = { file, locate, fileName: COMMAND_LINE, warnings: [] };
  const pins = await resolvePins(context, read, current?.contract ?? null, { askAt });
  const extras = { ...pins, deviceKeys, ...(genesis === undefined ? {} : { genesis }) };
  const { predecessor, contract } = nextVersion(context, file, current, owner.key, extras);
  if (atOnce && current !== null && contract !== current.contract) requireAlone(current, owner.key);
  await spendCode(context, code?.file, contract, code?.domain);
  if (contract === current?.contract) return undefined;
  return submitVersion(context, [await owner.open()], predecessor, contract);
}
