/** Edge rules in publish lines and in publications. */
import { isConnectionSpecific } from '@moat/core';
import { z } from 'zod';
import { isIpv4, isIpv6 } from '../ip.ts';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { HeaderChanges, PublishRules, RequestRate } from '../publish-rules.ts';
import { label, setOf, urlPath } from './fields.ts';

const rate: z.ZodType<RequestRate> = z.strictObject({
  count: z.int().min(1).max(1_000_000),
  perMs: z.union([z.literal(1_000), z.literal(60_000), z.literal(3_600_000)]),
});

/** `10.0.0.0/8`, `2001:db8::/32` or one address. */
const addressRange = z.string().max(49, { abort: true }).refine(isAddressRange, 'not an address or a range of them');
const ranges = setOf(addressRange, CONTRACT_LIMITS.ranges, 1);

/** Where a message ends and who sent it are not the publisher's to say. */
const FIXED_FIELDS: ReadonlySet<string> = new Set([
  'content-length',
  'host',
  'trailer',
  'expect',
  'forwarded',
  'via',
  'x-real-ip',
  'x-request-id',
]);

/** True for a field that edge rules may set or remove; `name` in lower case. */
export function isChangeableField(name: string): boolean {
  if (!/^[!#$%&'*+^`|~0-9a-z-]{1,128}$/.test(name)) return false;
  return !isConnectionSpecific(name) && !FIXED_FIELDS.has(name) && !name.startsWith('x-forwarded-');
}

const fieldName = z.string().max(128, { abort: true }).refine(isChangeableField, 'a field that no rule can change');
/** As RFC 9110 §5.5 has it, without anything above ASCII. */
const fieldValue = z
  .string()
  .max(CONTRACT_LIMITS.fieldChars)
  .regex(/^(?:[!-~](?:[\t !-~]*[!-~])?)?$/, 'characters that no field has');

const changes: z.ZodType<HeaderChanges> = z
  .strictObject({
    set: z.exactOptional(
      z.record(fieldName, fieldValue).refine(hasAFew, `at most ${CONTRACT_LIMITS.fieldChanges} fields`),
    ),
    remove: z.exactOptional(setOf(fieldName, CONTRACT_LIMITS.fieldChanges, 1)),
  })
  .refine(isNotEmpty, 'changes nothing');

export const publishRulesSchema: z.ZodType<PublishRules> = z
  .strictObject({
    rate: z.exactOptional(
      z.strictObject({ each: z.exactOptional(rate), all: z.exactOptional(rate) }).refine(isNotEmpty, 'says nothing'),
    ),
    concurrency: z.exactOptional(z.int().min(1).max(1_000_000)),
    from: z.exactOptional(
      z
        .strictObject({ allow: z.exactOptional(ranges), deny: z.exactOptional(ranges) })
        .refine(isNotEmpty, 'says nothing'),
    ),
    headers: z.exactOptional(
      z
        .strictObject({ request: z.exactOptional(changes), response: z.exactOptional(changes) })
        .refine(isNotEmpty, 'changes nothing'),
    ),
    redirect: z.exactOptional(
      z.strictObject({
        to: z.string().max(1_024).refine(isRedirectTarget, 'not an https or http address'),
        status: z.union([z.literal(301), z.literal(302), z.literal(307), z.literal(308)]),
      }),
    ),
    compress: z.exactOptional(z.literal(true)),
    maxBodyBytes: z.exactOptional(z.int().min(1)),
    paths: z.exactOptional(
      z
        .array(z.strictObject({ prefix: urlPath, service: label, strip: z.exactOptional(z.literal(true)) }))
        .min(1)
        .max(CONTRACT_LIMITS.paths)
        .refine(
          (paths) => new Set(paths.map(({ prefix }) => prefix)).size === paths.length,
          'a prefix is listed twice',
        ),
    ),
    split: z.exactOptional(
      z
        .array(z.strictObject({ service: label, percent: z.int().min(1).max(99) }))
        .min(1)
        .max(CONTRACT_LIMITS.splits)
        .refine((parts) => new Set(parts.map(({ service }) => service)).size === parts.length, 'a service twice')
        .refine((parts) => parts.reduce((sum, { percent }) => sum + percent, 0) <= 99, 'more than 99 percent'),
    ),
    sticky: z.exactOptional(z.literal(true)),
    retries: z.exactOptional(z.int().min(0).max(8)),
    breaker: z.exactOptional(
      z.strictObject({ failures: z.int().min(1).max(1_000), openMs: z.int().min(1_000).max(3_600_000) }),
    ),
    maintenance: z.exactOptional(
      z.strictObject({
        message: z.exactOptional(z.string().min(1).max(500)),
        retryAfterMs: z.exactOptional(z.int().min(1_000).max(604_800_000)),
      }),
    ),
    enforce: z.exactOptional(z.literal('member')),
  })
  .refine(isNotEmpty, 'no rules: leave them out');

/** True for one address, or a range of them: `10.0.0.0/8`, `2001:db8::/32`. */
export function isAddressRange(text: string): boolean {
  const [address = '', length, ...rest] = text.split('/', 3);
  const bits = isIpv4(address) ? 32 : isIpv6(address) ? 128 : 0;
  if (bits === 0 || rest.length > 0) return false;
  return length === undefined || (/^(?:0|[1-9]\d{0,2})$/.test(length) && Number(length) <= bits);
}

/** True for an absolute address without a user, a fragment or characters a Location has not. */
export function isRedirectTarget(text: string): boolean {
  return /^https?:\/\/[a-z0-9.-]+(?::\d{1,5})?(?:\/[!-"$-~]*)?$/.test(text) && URL.canParse(text);
}

function hasAFew(fields: object): boolean {
  return Object.keys(fields).length <= CONTRACT_LIMITS.fieldChanges;
}

function isNotEmpty(value: object): boolean {
  return Object.keys(value).length > 0;
}
