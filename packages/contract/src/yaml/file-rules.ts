/** Edge rules as they are written in a file, beside `service` and `gateway` of a publish entry, and back. */
import { z } from 'zod';
import { CONTRACT_LIMITS } from '../limits.ts';
import { isAddressRange, isChangeableField, isRedirectTarget } from '../parse/publish-rules.ts';
import type { HeaderChanges, PathRule, PublishRules, RequestRate, Split } from '../publish-rules.ts';
import { DURATION_PATTERN, formatDuration, parseDuration } from './duration.ts';

/** Each is optional; together they are a line's rules. */
export interface RawRules {
  readonly rate?: string | { readonly each?: string; readonly all?: string };
  readonly concurrency?: number;
  readonly from?: { readonly allow?: readonly string[]; readonly deny?: readonly string[] };
  readonly headers?: { readonly request?: HeaderChanges; readonly response?: HeaderChanges };
  readonly redirect?: string | { readonly to: string; readonly status?: 301 | 302 | 307 | 308 };
  readonly compress?: boolean;
  readonly maxBody?: string;
  readonly paths?: Readonly<Record<string, string | { readonly service: string; readonly strip?: boolean }>>;
  readonly split?: Readonly<Record<string, number>>;
  readonly sticky?: boolean;
  readonly retries?: number;
  readonly breaker?: { readonly failures: number; readonly for: string };
  readonly maintenance?: boolean | { readonly message?: string; readonly retryAfter?: string };
  readonly enforce?: 'member' | 'gateway';
}

const PER_MS = { s: 1_000, m: 60_000, h: 3_600_000 } as const;
const RATE = /^[1-9]\d{0,6}\/[smh]$/;
const SIZE_BYTES = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const;
const SIZE = /^([1-9]\d{0,5})(B|KiB|MiB|GiB|TiB)$/;
const RATE_RULE = 'a rate is written as 20/s, 100/m or 1000/h';
const DURATION_RULE = 'a duration is written as 30s, 10m or 2h';

const rate = z.string().max(16).regex(RATE, RATE_RULE);
const duration = z.string().max(16).regex(DURATION_PATTERN, DURATION_RULE);
const ranges = z
  .array(z.string().max(49).refine(isAddressRange, 'a range of addresses is written as 10.0.0.0/8 or 2001:db8::/32'))
  .min(1)
  .max(CONTRACT_LIMITS.ranges);
const label = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'name a service');
const fieldName = z.string().max(128).refine(isChangeableField, 'a field in lower case that rules may change');
const fieldChanges = z.strictObject({
  set: z.exactOptional(z.record(fieldName, z.string().max(CONTRACT_LIMITS.fieldChars))).describe('Replaces the field.'),
  remove: z.exactOptional(z.array(fieldName).min(1).max(CONTRACT_LIMITS.fieldChanges)).describe('Takes fields away.'),
});
const redirectTo = z.string().max(1_024).refine(isRedirectTarget, 'a place is written as https://www.shop.example/');

/** The fields a publish entry may have besides its own. */
export const rulesShape: {
  readonly [K in keyof RawRules]-?: z.ZodExactOptional<z.ZodType<Exclude<RawRules[K], undefined>>>;
} = {
  rate: z
    .exactOptional(
      z.union([rate, z.strictObject({ each: z.exactOptional(rate), all: z.exactOptional(rate) })], {
        error: `${RATE_RULE}; or { each, all }`,
      }),
    )
    .describe('Requests of one client address, as 20/s; or { each, all }.'),
  concurrency: z.exactOptional(z.int().min(1).max(1_000_000)).describe('Requests in work at once.'),
  from: z
    .exactOptional(z.strictObject({ allow: z.exactOptional(ranges), deny: z.exactOptional(ranges) }))
    .describe('Addresses of clients.'),
  headers: z
    .exactOptional(z.strictObject({ request: z.exactOptional(fieldChanges), response: z.exactOptional(fieldChanges) }))
    .describe('Fields set or removed on the way in (request) and out (response).'),
  redirect: z
    .exactOptional(
      z.union(
        [
          redirectTo,
          z.strictObject({
            to: redirectTo,
            status: z.exactOptional(z.union([z.literal(301), z.literal(302), z.literal(307), z.literal(308)])),
          }),
        ],
        { error: 'expected a place, as https://www.shop.example/, or { to, status }' },
      ),
    )
    .describe('Answers every request with another place; a / at its end is replaced by the path asked for.'),
  compress: z.exactOptional(z.boolean()).describe('Compresses texts that the service did not.'),
  maxBody: z
    .exactOptional(z.string().regex(SIZE, 'a size is written as 512KiB, 10MiB or 2GiB'))
    .describe('Largest body of a request.'),
  paths: z
    .exactOptional(
      z.record(
        z
          .string()
          .max(512)
          .regex(/^\/[!-"$-~]*$/, 'a path begins with /'),
        z.union([label, z.strictObject({ service: label, strip: z.exactOptional(z.boolean()) })], {
          error: 'expected a service, or { service, strip }',
        }),
      ),
    )
    .describe('Other services, by the beginning of the path.'),
  split: z
    .exactOptional(z.record(label, z.int().min(1).max(99)))
    .describe('Other services for so many percent of clients.'),
  sticky: z.exactOptional(z.boolean()).describe('A client stays with one member, by a cookie.'),
  retries: z.exactOptional(z.int().min(0).max(8)).describe('Other members tried after one failed.'),
  breaker: z
    .exactOptional(z.strictObject({ failures: z.int().min(1).max(1_000), for: duration }))
    .describe('After so many failures in a row a member rests for so long.'),
  maintenance: z
    .exactOptional(
      z.union(
        [
          z.boolean(),
          z.strictObject({
            message: z.exactOptional(z.string().min(1).max(500)),
            retryAfter: z.exactOptional(duration),
          }),
        ],
        { error: 'expected true, or { message, retryAfter }' },
      ),
    )
    .describe('Answers every request 503.'),
  enforce: z
    .exactOptional(z.enum(['member', 'gateway']))
    .describe('Who keeps rate and concurrency, and asks who comes in: the gateway (default), or the members too.'),
};

/** The fields that may stand in the object at `path`, which begins with a rule; empty where names are free. */
export function ruleFields(path: readonly (string | number)[]): readonly string[] {
  const [rule, , third] = path;
  const nested: Readonly<Record<string, readonly string[]>> = {
    rate: ['each', 'all'],
    from: ['allow', 'deny'],
    headers: path.length === 1 ? ['request', 'response'] : third === undefined ? ['set', 'remove'] : [],
    redirect: ['to', 'status'],
    paths: path.length === 2 ? ['service', 'strip'] : [],
    breaker: ['failures', 'for'],
    maintenance: ['message', 'retryAfter'],
  };
  return nested[String(rule)] ?? [];
}

/** Their names, in order. */
export const RULE_FIELDS: readonly (keyof RawRules)[] = Object.keys(rulesShape) as (keyof RawRules)[];

/** The contract's form; undefined where a line has no rules. */
export function spellRules(raw: RawRules): PublishRules | undefined {
  const { concurrency, from, headers, retries } = raw;
  const rules: PublishRules = {
    ...present('rate', raw.rate === undefined ? undefined : spellRate(raw.rate)),
    ...present('concurrency', concurrency),
    ...present('from', from),
    ...present('headers', headers),
    ...present('redirect', raw.redirect === undefined ? undefined : spellRedirect(raw.redirect)),
    ...present('compress', raw.compress === true ? (true as const) : undefined),
    ...present('maxBodyBytes', raw.maxBody === undefined ? undefined : parseSize(raw.maxBody)),
    ...present('paths', raw.paths === undefined ? undefined : spellPaths(raw.paths)),
    ...present('split', raw.split === undefined ? undefined : spellSplit(raw.split)),
    ...present('sticky', raw.sticky === true ? (true as const) : undefined),
    ...present('retries', retries),
    ...present(
      'breaker',
      raw.breaker && { failures: raw.breaker.failures, openMs: parseDuration(raw.breaker.for) ?? 0 },
    ),
    ...present('maintenance', spellMaintenance(raw.maintenance)),
    ...present('enforce', raw.enforce === 'member' ? raw.enforce : undefined),
  };
  return Object.keys(rules).length === 0 ? undefined : rules;
}

/** What {@link spellRules} reads as `rules`. */
export function writeRules(rules: PublishRules): RawRules {
  const { rate: rates, redirect, maxBodyBytes, paths, split, breaker, maintenance, ...same } = rules;
  return {
    ...same,
    ...present('rate', rates && writeRate(rates)),
    ...present('redirect', redirect && (redirect.status === 308 ? redirect.to : redirect)),
    ...present('maxBody', maxBodyBytes === undefined ? undefined : writeSize(maxBodyBytes)),
    ...present('paths', paths && Object.fromEntries(paths.map(writePath))),
    ...present('split', split && Object.fromEntries(split.map(({ service, percent }) => [service, percent]))),
    ...present('breaker', breaker && { failures: breaker.failures, for: formatDuration(breaker.openMs) }),
    ...present('maintenance', maintenance && writeMaintenance(maintenance)),
  };
}

function present<K extends string, V>(key: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [P in K]: V });
}

function spellRate(raw: NonNullable<RawRules['rate']>): NonNullable<PublishRules['rate']> {
  if (typeof raw === 'string') return { each: parseRate(raw) };
  return {
    ...present('each', raw.each === undefined ? undefined : parseRate(raw.each)),
    ...present('all', raw.all === undefined ? undefined : parseRate(raw.all)),
  };
}

function writeRate({ each, all }: NonNullable<PublishRules['rate']>): NonNullable<RawRules['rate']> {
  if (each !== undefined && all === undefined) return writeOneRate(each);
  return { ...present('each', each && writeOneRate(each)), ...present('all', all && writeOneRate(all)) };
}

/** The schema has seen its form. */
function parseRate(text: string): RequestRate {
  const [count, unit] = text.split('/') as [string, keyof typeof PER_MS];
  return { count: Number(count), perMs: PER_MS[unit] };
}

function writeOneRate({ count, perMs }: RequestRate): string {
  return `${count}/${perMs === PER_MS.s ? 's' : perMs === PER_MS.m ? 'm' : 'h'}`;
}

function spellRedirect(raw: NonNullable<RawRules['redirect']>): NonNullable<PublishRules['redirect']> {
  return typeof raw === 'string' ? { to: raw, status: 308 } : { to: raw.to, status: raw.status ?? 308 };
}

function parseSize(text: string): number {
  const [, count, unit] = SIZE.exec(text) ?? [];
  return Number(count) * SIZE_BYTES[unit as keyof typeof SIZE_BYTES];
}

function writeSize(bytes: number): string {
  const [unit, size] = Object.entries(SIZE_BYTES).findLast(([, each]) => bytes % each === 0) ?? ['B', 1];
  return `${bytes / size}${unit}`;
}

/** By prefix, so that the order in the file means nothing. */
function spellPaths(raw: NonNullable<RawRules['paths']>): PathRule[] {
  return Object.entries(raw)
    .map(([prefix, to]): PathRule => {
      if (typeof to === 'string') return { prefix, service: to };
      return { prefix, service: to.service, ...(to.strip === true ? { strip: true } : {}) };
    })
    .sort((a, b) => (a.prefix < b.prefix ? -1 : 1));
}

function writePath({ prefix, service, strip }: PathRule): [string, string | { service: string; strip: true }] {
  return [prefix, strip === true ? { service, strip } : service];
}

function spellSplit(raw: NonNullable<RawRules['split']>): Split[] {
  return Object.entries(raw)
    .map(([service, percent]) => ({ service, percent }))
    .sort((a, b) => (a.service < b.service ? -1 : 1));
}

function spellMaintenance(raw: RawRules['maintenance']): PublishRules['maintenance'] {
  if (raw === undefined || raw === false) return undefined;
  if (raw === true) return {};
  return {
    ...present('message', raw.message),
    ...present('retryAfterMs', raw.retryAfter === undefined ? undefined : parseDuration(raw.retryAfter)),
  };
}

function writeMaintenance({
  message,
  retryAfterMs,
}: NonNullable<PublishRules['maintenance']>): NonNullable<RawRules['maintenance']> {
  if (message === undefined && retryAfterMs === undefined) return true;
  return {
    ...present('message', message),
    ...present('retryAfter', retryAfterMs === undefined ? undefined : formatDuration(retryAfterMs)),
  };
}
