/**
 * Secrets a file names by path: read and checked before a version is built, boxed while it is. Reading is the
 * caller's. An unchanged secret keeps the box it has, so that applying twice changes nothing.
 */
import { MoatError, errorCode, isMoatError, type DeploymentId } from '@moat/core';
import { parseBasicUsers } from '../basic-users.ts';
import { boxSecret, secretDigest } from '../boxed-secret.ts';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { Contract, PublishAuth, PublishLine } from '../schema.ts';
import { carriedLine } from './carry-over.ts';
import type { Diagnostic } from './diagnostic.ts';
import type { DeploymentFile, FileAuth } from './file.ts';
import { Findings, type Finding } from './findings.ts';
import type { ParsedDeploymentFile } from './parse.ts';

/** Secrets for `buildContract`, by the path they were asked under. */
export interface SecretsResult {
  readonly secrets: ReadonlyMap<string, string>;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * Reads each file of users once and checks that a gateway could. Never rejects: what failed is a diagnostic, which
 * holds nothing of the text.
 * @param read the text at a path, which is relative to the deployment file's directory; may reject.
 */
export async function resolveSecrets(
  read: (path: string) => Promise<string>,
  { file, locate }: Pick<ParsedDeploymentFile, 'locate'> & { readonly file: DeploymentFile },
  fileName: string,
): Promise<SecretsResult> {
  const findings = new Findings(fileName, { locate, locateKey: locate }, 'references');
  const found = new Map<string, string | Finding>();
  for (const { name, auth } of file.publish) {
    if (auth === undefined || !('file' in auth.basic)) continue;
    const { file: path } = auth.basic;
    const users = found.get(path) ?? (await readUsers(read, path));
    found.set(path, users);
    if (typeof users !== 'string') findings.add(['publish', name, 'auth', 'basic', 'file'], users);
  }
  const secrets = [...found].flatMap(([path, users]) => (typeof users === 'string' ? [[path, users] as const] : []));
  return { secrets: new Map(secrets), diagnostics: findings.list() };
}

async function readUsers(read: (path: string) => Promise<string>, path: string): Promise<string | Finding> {
  let text: string;
  try {
    text = await read(path);
  } catch (error) {
    const reason = error instanceof Error && error.message !== '' ? error.message : errorCode(error);
    return { code: 'SECRET_MISSING', message: `cannot be read: ${reason}` };
  }
  if (Buffer.byteLength(text) > CONTRACT_LIMITS.secretBytes) {
    return { code: 'USERS_INVALID', message: 'is larger than 16 KiB' };
  }
  try {
    parseBasicUsers(text);
    return text;
  } catch (error) {
    if (!isMoatError(error)) throw error;
    return { code: 'USERS_INVALID', message: `is no file of users: ${error.message}`, hint: 'moat password USER' };
  }
}

/** What boxing a secret needs of a `BuildInput`. */
export interface BoxInput {
  readonly deployment: DeploymentId;
  readonly current: Contract | null;
  readonly secrets?: ReadonlyMap<string, string>;
  readonly random: (bytes: number) => Uint8Array;
}

/**
 * The rule of a publish line, its secret boxed for the line's gateway. The current box stays while secret and
 * gateway key do.
 * @throws `SECRET_MISSING`, `GATEWAY_BOX_MISSING`, `CONTRACT_INVALID`
 */
export function boxAuth({ basic }: FileAuth, line: PublishLine, input: BoxInput): PublishAuth {
  const { name, salt, gateway } = line;
  const carried = carriedLine(name, gateway.domain, input.current);
  const boxed = carried?.gateway.box === gateway.box ? carried?.auth : undefined;
  if ('boxed' in basic) {
    if (boxed !== undefined) return boxed;
    throw missing(name, `the running version has no users boxed for ${gateway.domain} as it is now`);
  }
  const text = input.secrets?.get(basic.file);
  if (text === undefined) throw missing(name, 'its file has not been read');
  if (gateway.box === undefined) {
    throw new MoatError(
      'GATEWAY_BOX_MISSING',
      `${gateway.domain} shows no key that the users of ${name} could be boxed for`,
      {
        details: { name, domain: gateway.domain },
      },
    );
  }
  const secret = Buffer.from(text);
  if (boxed?.basic.digest === secretDigest(secret, salt)) return boxed;
  return { basic: boxSecret(secret, { deployment: input.deployment, name, salt, box: gateway.box }, input.random) };
}

function missing(name: string, reason: string): MoatError<'SECRET_MISSING'> {
  return new MoatError('SECRET_MISSING', `the users of ${name} are not known: ${reason}`, {
    details: { name },
    next: [`write auth: { basic: { file: ./users } } at publish.${name}, then moat apply`],
  });
}
