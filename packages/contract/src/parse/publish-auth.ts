/** Edge rules about who comes in, in publish lines and in publications. */
import { isMoatError } from '@moat/core';
import { z } from 'zod';
import { parseBasicUsers } from '../basic-users.ts';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { BoxedSecret, ClientCertificates, OidcAuth, PublishAuth } from '../schema.ts';
import { hash, hostName, ownerKey, sortedSetOf } from './fields.ts';

/** Ephemeral key, nonce, secret and tag in base64url. */
const MAX_BOX_CHARS = Math.ceil(((32 + 12 + CONTRACT_LIMITS.secretBytes + 16) * 4) / 3);

const boxed: z.ZodType<BoxedSecret> = z.strictObject({
  box: z
    .string()
    .max(MAX_BOX_CHARS, { abort: true })
    .regex(/^[\w-]{80,}$/, 'a boxed secret is base64url'),
  digest: hash,
});

const email = z.string().max(254, { abort: true }).refine(isEmail, 'not an address of mail in lower case');

const oidc: z.ZodType<OidcAuth> = z.strictObject({
  issuer: z.string().max(512, { abort: true }).refine(isIssuer, 'an issuer is an https address without a query'),
  clientId: z.string().regex(/^[!-~]{1,256}$/),
  secret: boxed,
  emails: z.exactOptional(sortedSetOf(email, CONTRACT_LIMITS.people)),
  emailDomains: z.exactOptional(sortedSetOf(hostName, CONTRACT_LIMITS.people)),
});

const mtls: z.ZodType<ClientCertificates> = z.strictObject({
  ca: z.string().max(CONTRACT_LIMITS.secretBytes, { abort: true }).refine(isCertificates, 'not certificates in PEM'),
});

export const publishAuthSchema: z.ZodType<PublishAuth> = z
  .strictObject({
    basic: z.exactOptional(boxed),
    oidc: z.exactOptional(oidc),
    mtls: z.exactOptional(mtls),
    keys: z.exactOptional(sortedSetOf(ownerKey, CONTRACT_LIMITS.people).refine((keys) => keys.length > 0, 'empty')),
    enforce: z.exactOptional(z.literal('member')),
    users: z.exactOptional(
      z.string().max(CONTRACT_LIMITS.secretBytes, { abort: true }).refine(isUsers, 'not lines of user:hash'),
    ),
  })
  .refine((auth) => Object.keys(auth).some((key) => key !== 'enforce'), 'no way in: leave it out');

/** True for `name@domain` as mail is delivered, without comments or quotes. */
export function isEmail(text: string): boolean {
  return /^[a-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?$/.test(text);
}

/** True for where a provider's configuration is: https, or http on this machine. */
export function isIssuer(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, search, hash: fragment, username, password } = new URL(text);
  const isHere = hostname === 'localhost' || hostname === '127.0.0.1' || hostname === '[::1]';
  return (
    (protocol === 'https:' || (protocol === 'http:' && isHere)) &&
    search + fragment + username + password === '' &&
    /^[!-~]+$/.test(text)
  );
}

function isUsers(text: string): boolean {
  try {
    return parseBasicUsers(text).size > 0;
  } catch (error) {
    if (isMoatError(error)) return false;
    throw error;
  }
}

/** True for PEM certificates and nothing else; whether they are any good is for whoever loads them. */
export function isCertificates(text: string): boolean {
  return /^(?:-----BEGIN CERTIFICATE-----\n(?:[A-Za-z0-9+/=]{1,76}\n)+-----END CERTIFICATE-----\n)+$/.test(text);
}
