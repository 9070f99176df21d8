/** `tls: { acme: … }` of gateway.yaml. */
import { resolve } from 'node:path';
import { z } from 'zod';
import type { ChallengeKind } from '@moat/acme';
import { complain } from '../config-values.ts';

/** An authority as the file says it. */
export interface AuthorityFile {
  readonly directory?: string | undefined;
  readonly email?: string | undefined;
  readonly ca?: string | undefined;
  readonly eab?: { readonly kid: string; readonly keyFile: string } | undefined;
  readonly profile?: string | undefined;
}

/** As the file says it. */
export interface AcmeFile extends AuthorityFile {
  readonly challenges?: readonly ChallengeKind[] | undefined;
  readonly fallback?: AuthorityFile | undefined;
}

/** An authority with every default filled in; files are read when the gateway starts. */
export interface AuthorityConfig {
  /** URL. @defaultValue Let's Encrypt */
  readonly directory: string;
  /** Contact of the account. */
  readonly email: string | undefined;
  /** PEM file of the authorities that the directory's own https is verified by. @defaultValue the public ones */
  readonly caFile: string | undefined;
  readonly eab: { readonly kid: string; readonly keyFile: string } | undefined;
  /** One of those that the authority offers. */
  readonly profile: string | undefined;
}

export interface AcmeConfig {
  /** In the order in which they are asked. */
  readonly authorities: readonly AuthorityConfig[];
  /** Kinds of proof, best first. @defaultValue every one that can be given */
  readonly challenges: readonly ChallengeKind[] | undefined;
}

/** Authorities by name. */
const DIRECTORIES: Readonly<Record<string, string>> = {
  letsencrypt: 'https://acme-v02.api.letsencrypt.org/directory',
  'letsencrypt-staging': 'https://acme-staging-v02.api.letsencrypt.org/directory',
  google: 'https://dv.acme-v02.api.pki.goog/directory',
  zerossl: 'https://acme.zerossl.com/v2/DV90',
};

const directory = z.string().transform((text, context) => {
  const url = DIRECTORIES[text] ?? text;
  if (URL.parse(url)?.protocol === 'https:') return url;
  return complain(context, `a directory is an https URL, or ${Object.keys(DIRECTORIES).join(', ')}`);
});
const email = z.string().regex(/^[^\s@,?&]{1,64}@[^\s@,?&]{1,190}$/, 'not an email address');
const word = z.string().min(1).max(500);

const authorityShape = {
  directory: directory.optional(),
  email: email.optional(),
  ca: word.optional(),
  eab: z.strictObject({ kid: word, keyFile: word }).optional(),
  profile: z
    .string()
    .regex(/^[A-Za-z0-9._-]{1,64}$/, 'a profile is one of the names that the authority lists')
    .optional(),
};
const kind: z.ZodType<ChallengeKind> = z.enum(['tls-alpn-01', 'http-01', 'dns-01']);

const shape = {
  ...authorityShape,
  challenges: z
    .array(kind)
    .min(1)
    .refine((kinds) => new Set(kinds).size === kinds.length, 'a kind of proof stands here twice')
    .optional(),
  fallback: z.strictObject(authorityShape).optional(),
};
const schema = z
  .strictObject(shape)
  .refine(({ directory, fallback }) => !fallback || urlOf(directory) !== urlOf(fallback.directory), {
    path: ['fallback'],
    message: 'a second authority has another directory than the first',
  });

/** Keys at a path below `acme`. */
export function acmeKeys(path: readonly PropertyKey[]): string[] {
  if (path.at(-1) === 'eab') return ['kid', 'keyFile'];
  return Object.keys(path.at(-1) === 'fallback' ? authorityShape : shape);
}

export const acmeSchema: z.ZodType<AcmeFile> = schema;

/** With every default filled in. @param base directory that paths are relative to */
export function acmeConfigOf(file: AcmeFile, base: string): AcmeConfig {
  const { challenges, fallback } = file;
  const all = fallback === undefined ? [file] : [file, { email: file.email, ...fallback }];
  return {
    challenges,
    authorities: all.map(({ directory, email, ca, eab, profile }) => ({
      directory: urlOf(directory),
      email,
      caFile: ca === undefined ? undefined : resolve(base, ca),
      eab: eab && { kid: eab.kid, keyFile: resolve(base, eab.keyFile) },
      profile,
    })),
  };
}

function urlOf(directory: string | undefined): string {
  return directory ?? DIRECTORIES['letsencrypt'] ?? '';
}
