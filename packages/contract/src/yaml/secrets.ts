/**
 * Secrets a file names by path: read and checked before a version is built, boxed while it is. Reading is the
 * caller's. An unchanged secret keeps the box it has, so that applying twice changes nothing.
 */
import { MoatError, errorCode, isMoatError, type DeploymentId, type OwnerKey } from '@moat/core';
import { formatBasicUser, parseBasicUsers } from '../basic-users.ts';
import { boxSecret, secretDigest } from '../boxed-secret.ts';
import { CONTRACT_LIMITS } from '../limits.ts';
import { isCertificates } from '../parse/publish-auth.ts';
import type { BoxedSecret, Contract, PublishAuth, PublishLine } from '../schema.ts';
import { carriedLine } from './carry-over.ts';
import type { Diagnostic, FieldPath } from './diagnostic.ts';
import type { FileAuth, FileSecret } from './file-auth.ts';
import type { DeploymentFile } from './file.ts';
import { Findings, type Finding } from './findings.ts';
import type { ParsedDeploymentFile } from './parse.ts';

/** Secrets for `buildContract`, by the path they were asked under. */
export interface SecretsResult {
  readonly secrets: ReadonlyMap<string, string>;
  readonly diagnostics: readonly Diagnostic[];
}

/**
 * Reads each file once and checks that a gateway could use it. Never rejects: what failed is a diagnostic, which
 * holds nothing of the text.
 * @param read the text at a path, which is relative to the deployment file's directory; may reject.
 */
export async function resolveSecrets(
  read: (path: string) => Promise<string>,
  { file, locate }: Pick<ParsedDeploymentFile, 'locate'> & { readonly file: DeploymentFile },
  fileName: string,
): Promise<SecretsResult> {
  const findings = new Findings(fileName, { locate, locateKey: locate }, 'references');
  const texts = new Map<string, string>();
  const look = async (path: string, at: FieldPath, check: (text: string) => Finding | undefined): Promise<void> => {
    const text = texts.get(path) ?? (await readText(read, path));
    if (typeof text !== 'string') return findings.add(at, text);
    const finding = check(text);
    if (finding === undefined) texts.set(path, text);
    else findings.add(at, finding);
  };
  for (const { name, auth } of file.publish) {
    const at = ['publish', name, 'auth'];
    const { basic, oidc, mtls } = auth ?? {};
    if (basic !== undefined && 'file' in basic) await look(basic.file, [...at, 'basic', 'file'], usersProblem);
    if (oidc !== undefined && 'file' in oidc.secret) {
      await look(oidc.secret.file, [...at, 'oidc', 'secret', 'file'], secretProblem);
    }
    if (mtls !== undefined && !isText(mtls.ca)) await look(mtls.ca, [...at, 'mtls', 'ca'], certificatesProblem);
  }
  return { secrets: texts, diagnostics: findings.list() };
}

async function readText(read: (path: string) => Promise<string>, path: string): Promise<string | Finding> {
  try {
    const text = await read(path);
    if (Buffer.byteLength(text) <= CONTRACT_LIMITS.secretBytes) return text;
    return { code: 'USERS_INVALID', message: 'is larger than 16 KiB' };
  } catch (error) {
    const reason = error instanceof Error && error.message !== '' ? error.message : errorCode(error);
    return { code: 'SECRET_MISSING', message: `cannot be read: ${reason}` };
  }
}

function usersProblem(text: string): Finding | undefined {
  try {
    parseBasicUsers(text);
    return undefined;
  } catch (error) {
    if (!isMoatError(error)) throw error;
    return { code: 'USERS_INVALID', message: `is no file of users: ${error.message}`, hint: 'moat password USER' };
  }
}

function secretProblem(text: string): Finding | undefined {
  return text.trim() === '' ? { code: 'SECRET_MISSING', message: 'is empty' } : undefined;
}

function certificatesProblem(text: string): Finding | undefined {
  if (isCertificates(withLineEnds(text))) return undefined;
  return { code: 'FILE_INVALID', message: 'has no certificates in PEM, or something besides them' };
}

/** Certificates themselves, where a path could stand. */
function isText(ca: string): boolean {
  return ca.startsWith('-----BEGIN');
}

function withLineEnds(text: string): string {
  return `${text.replaceAll('\r\n', '\n').trim()}\n`;
}

/** What boxing a secret needs of a `BuildInput`. */
export interface BoxInput {
  readonly deployment: DeploymentId;
  readonly current: Contract | null;
  readonly secrets?: ReadonlyMap<string, string>;
  readonly random: (bytes: number) => Uint8Array;
}

/**
 * The ways in of a publish line: its secrets boxed for the line's gateway, or hashes where members ask too. A box stays
 * while its secret and the gateway's key do.
 * @param keys what `auth.keys` stands for.
 * @throws `SECRET_MISSING`, `GATEWAY_BOX_MISSING`, `CONTRACT_INVALID`
 */
export function boxAuth(auth: FileAuth, line: PublishLine, input: BoxInput, keys: readonly OwnerKey[]): PublishAuth {
  const carried = carriedLine(line.name, line.gateway.domain, input.current);
  const known = carried?.gateway.box === line.gateway.box ? carried?.auth : undefined;
  const { basic, oidc, mtls, enforce } = auth;
  if (enforce !== undefined) {
    return {
      ...(basic === undefined ? {} : { users: usersOf(basic, carried?.auth?.users, line.name, input) }),
      ...(auth.keys === undefined ? {} : { keys }),
      enforce,
    };
  }
  return {
    ...(basic === undefined ? {} : { basic: box('users', basic, known?.basic, line, input) }),
    ...(oidc === undefined
      ? {}
      : { oidc: { ...oidc, secret: box('secret', oidc.secret, known?.oidc?.secret, line, input) } }),
    ...(mtls === undefined ? {} : { mtls: { ca: certificatesOf(mtls.ca, line.name, input) } }),
    ...(auth.keys === undefined ? {} : { keys }),
  };
}

/** Names and hashes alone: what else stands in the file is not for members. */
function usersOf(
  from: FileSecret,
  known: string | undefined,
  name: string,
  { secrets }: Pick<BoxInput, 'secrets'>,
): string {
  if ('boxed' in from) {
    if (known !== undefined) return known;
    throw missing('users', name, 'the running version has none that members can read');
  }
  const text = secrets?.get(from.file);
  if (text === undefined) throw missing('users', name, 'its file has not been read');
  return [...parseBasicUsers(text)].map(([user, hash]) => `${formatBasicUser(user, hash)}\n`).join('');
}

function box(
  what: 'users' | 'secret',
  from: FileSecret,
  known: BoxedSecret | undefined,
  { name, salt, gateway }: PublishLine,
  { secrets, deployment, random }: BoxInput,
): BoxedSecret {
  if ('boxed' in from) {
    if (known !== undefined) return known;
    throw missing(what, name, `the running version has none boxed for ${gateway.domain} as it is now`);
  }
  const text = secrets?.get(from.file);
  if (text === undefined) throw missing(what, name, 'its file has not been read');
  if (gateway.box === undefined) {
    const message = `${gateway.domain} shows no key that the ${what} of ${name} could be boxed for`;
    throw new MoatError('GATEWAY_BOX_MISSING', message, { details: { name, domain: gateway.domain } });
  }
  // An editor ends the last line; a provider did not.
  const secret = Buffer.from(what === 'users' ? text : text.trim());
  if (known?.digest === secretDigest(secret, salt)) return known;
  return boxSecret(secret, { deployment, name, salt, box: gateway.box }, random);
}

function certificatesOf(ca: string, name: string, { secrets }: BoxInput): string {
  const text = isText(ca) ? ca : secrets?.get(ca);
  if (text === undefined) throw missing('authorities', name, 'their file has not been read');
  return withLineEnds(text);
}

function missing(what: string, name: string, reason: string): MoatError<'SECRET_MISSING'> {
  return new MoatError('SECRET_MISSING', `the ${what} of ${name} are not known: ${reason}`, {
    details: { name },
    next: [`write a file: at publish.${name}.auth, then moat apply`],
  });
}
