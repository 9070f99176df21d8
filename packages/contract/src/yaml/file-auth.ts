/** Who may come in under a name, as it is written in a file. */
import { isLabel, parseKey } from '@moat/core';
import { z } from 'zod';
import { CONTRACT_LIMITS } from '../limits.ts';
import { isEmail, isIssuer } from '../parse/publish-auth.ts';
import { isHostName } from '../multiaddr.ts';
import type { PublishAuth } from '../schema.ts';

/** A secret in a file, from the directory of the deployment file, or the one that the running version has boxed. */
export type FileSecret = { readonly file: string } | { readonly boxed: true };

export interface RawAuth {
  readonly basic?: RawSecret;
  readonly oidc?: {
    readonly issuer: string;
    readonly client: string;
    readonly secret: RawSecret;
    readonly emails?: readonly string[];
    readonly domains?: readonly string[];
  };
  readonly mtls?: { readonly ca: string };
  readonly keys?: readonly string[];
}
interface RawSecret {
  readonly file?: string;
  readonly boxed?: true;
}

/** Short forms spelled out; paths and names as they were written. */
export interface FileAuth {
  readonly basic?: FileSecret;
  readonly oidc?: Omit<NonNullable<PublishAuth['oidc']>, 'secret'> & { readonly secret: FileSecret };
  /** A path, or certificates. */
  readonly mtls?: { readonly ca: string };
  /** Keys, `owners`, `members`, names of members and `tag:<tag>`. */
  readonly keys?: readonly string[];
  /** Members ask too. */
  readonly enforce?: 'member';
}

const secretOf = (what: string): z.ZodType<RawSecret> =>
  z
    .strictObject({
      file: z.exactOptional(z.string().min(1, 'name a file').max(1024)).describe(what),
      boxed: z.exactOptional(z.literal(true)).describe('Keep what the running version has.'),
    })
    .refine(({ file, boxed }) => (file === undefined) !== (boxed === undefined), 'write file: or boxed: true');

const email = z.string().max(254).refine(isEmail, 'an address of mail is written in lower case, as ana@shop.example');
const domain = z.string().max(253).refine(isHostName, 'a domain is written as shop.example');
const EMPTY = 'name at least one, or leave it out';
const key = z.string().max(64).refine(isKeySelector, 'write owners, members, a member, tag:web or ed25519:…');

const shapes = {
  basic: secretOf('A file of users, one user:hash a line (moat password USER), from the directory of this file.'),
  oidc: z.strictObject({
    issuer: z
      .string()
      .max(512)
      .refine(isIssuer, 'an issuer is written as https://login.example')
      .describe('Who knows the users.'),
    client: z.string().min(1).max(256).describe('The name by which the issuer knows this site.'),
    secret: secretOf("A file with the client's secret, from the directory of this file."),
    emails: z.exactOptional(z.array(email).min(1, EMPTY).max(CONTRACT_LIMITS.people)).describe('Who may come in.'),
    domains: z
      .exactOptional(z.array(domain).min(1, EMPTY).max(CONTRACT_LIMITS.people))
      .describe('Everybody with mail there may come in.'),
  }),
  mtls: z.strictObject({ ca: z.string().min(1).max(CONTRACT_LIMITS.secretBytes).describe('A PEM file, or its text.') }),
  keys: z.array(key).min(1, EMPTY).max(CONTRACT_LIMITS.people),
} as const;

export const authSchema: z.ZodType<RawAuth> = z
  .strictObject({
    basic: z.exactOptional(shapes.basic).describe('HTTP Basic: a name and a password.'),
    oidc: z.exactOptional(shapes.oidc).describe('Sign-in at an OpenID Connect provider.'),
    mtls: z.exactOptional(shapes.mtls).describe('A client certificate that one of these authorities signed.'),
    keys: z.exactOptional(shapes.keys).describe('Sign-in with a key of Moat: owners, members or ed25519:….'),
  })
  .refine((auth) => Object.keys(auth).length > 0, 'name a way in, or leave auth out');

/** The fields that may stand in the object at `path`, which begins behind `auth`. */
export function authFields(path: readonly (string | number)[]): readonly string[] {
  const [way, field] = path;
  if (way === undefined) return Object.keys(shapes);
  if (way === 'basic' || field === 'secret') return ['file', 'boxed'];
  return way === 'oidc' ? Object.keys(shapes.oidc.shape) : way === 'mtls' ? ['ca'] : [];
}

/** @param enforce what the line says of it, for rates and ways in alike */
export function spellAuth({ basic, oidc, mtls, keys }: RawAuth, enforce?: 'member'): FileAuth {
  return {
    ...(basic === undefined ? {} : { basic: spellSecret(basic) }),
    ...(oidc === undefined ? {} : { oidc: spellOidc(oidc) }),
    ...(mtls === undefined ? {} : { mtls }),
    ...(keys === undefined ? {} : { keys }),
    ...(enforce === undefined ? {} : { enforce }),
  };
}

/** What {@link spellAuth} reads, with secrets as they are boxed: the contract has no secret, only its box, or hashes. */
export function writeAuth({ basic, oidc, mtls, keys, users }: PublishAuth): RawAuth {
  const boxed: RawSecret = { boxed: true };
  return {
    ...((basic ?? users) === undefined ? {} : { basic: boxed }),
    ...(oidc === undefined ? {} : { oidc: writeOidc(oidc, boxed) }),
    ...(mtls === undefined ? {} : { mtls }),
    ...(keys === undefined ? {} : { keys }),
  };
}

function spellOidc({ client, domains, emails, ...rest }: NonNullable<RawAuth['oidc']>): NonNullable<FileAuth['oidc']> {
  return {
    issuer: rest.issuer,
    clientId: client,
    secret: spellSecret(rest.secret),
    ...(emails === undefined ? {} : { emails: sorted(emails) }),
    ...(domains === undefined ? {} : { emailDomains: sorted(domains) }),
  };
}

function writeOidc(oidc: NonNullable<PublishAuth['oidc']>, secret: RawSecret): NonNullable<RawAuth['oidc']> {
  const { issuer, clientId, emails, emailDomains } = oidc;
  return {
    issuer,
    client: clientId,
    secret,
    ...(emails === undefined ? {} : { emails }),
    ...(emailDomains === undefined ? {} : { domains: emailDomains }),
  };
}

/** The schema has seen that it is one of both. */
function spellSecret({ file }: RawSecret): FileSecret {
  return file === undefined ? { boxed: true } : { file };
}

function sorted(texts: readonly string[]): string[] {
  return [...new Set(texts)].sort();
}

function isKeySelector(text: string): boolean {
  if (!text.startsWith('ed25519:')) return isLabel(text.startsWith('tag:') ? text.slice(4) : text);
  try {
    parseKey('ed25519', text);
    return true;
  } catch {
    return false;
  }
}
