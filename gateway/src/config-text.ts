/** The text of gateway.yaml: YAML with positions, then a strict schema; every problem as `file:line:col`. */
import { LineCounter, isNode, isScalar, isMap, parseDocument, type Document } from 'yaml';
import { z } from 'zod';
import { isDeploymentId, isLabel } from '@moat/core';
import { isEntryText } from '@moat/contract';
import { acmeKeys, acmeSchema, type AcmeFile } from './certificates/acme-config.ts';
import type { HostPort, Publishers } from './config.ts';
import { complain, domain, hostPort, portRanges, publicPort } from './config-values.ts';
import { DNS_KEYS, dnsSchema, type DnsFile } from './dns/dns-config.ts';
import { refusal } from './errors.ts';
import type { PortRange } from './names/port.ts';
import { NAMES_KEYS, namesSchema, type NamesFile } from './names/names-config.ts';
import { MAX_WORKERS } from './workers/shares.ts';

/** What the file says, before defaults. */
export interface ConfigFile {
  readonly version: 1;
  readonly domain: string;
  readonly publishers?: Publishers | undefined;
  readonly limits?: ConfigLimits | undefined;
  readonly tls:
    | 'local'
    | {
        readonly local?: object | undefined;
        readonly files?: readonly { readonly certificate: string; readonly key: string }[] | undefined;
        readonly acme?: AcmeFile | undefined;
      };
  readonly listen?:
    | {
        readonly https?: HostPort | undefined;
        readonly http?: HostPort | 'off' | undefined;
        readonly overlay?: readonly string[] | undefined;
        readonly link?: HostPort | undefined;
      }
    | undefined;
  readonly tcpPorts?: readonly PortRange[] | undefined;
  readonly workers?: number | 'auto' | undefined;
  readonly anchor?: boolean | undefined;
  readonly directory?:
    | {
        readonly listed?: boolean | undefined;
        readonly region?: string | undefined;
        readonly terms?: string | undefined;
        readonly anchors?: readonly string[] | undefined;
      }
    | undefined;
  readonly announce?: readonly string[] | undefined;
  readonly publicPort?: number | undefined;
  readonly http2?: 'on' | 'off' | undefined;
  readonly privateIssuers?: boolean | undefined;
  readonly state?: string | undefined;
  readonly store?: string | undefined;
  readonly abuse?: { readonly email?: string | undefined; readonly url?: string | undefined } | undefined;
  readonly interstitial?: 'off' | 'unverified' | undefined;
  readonly accessLog?: string | undefined;
  readonly audit?: { readonly keep?: number | undefined; readonly lines?: number | undefined } | undefined;
  readonly metrics?: { readonly listen: HostPort } | undefined;
  readonly console?: { readonly socket?: string | undefined } | undefined;
  readonly dns?: DnsFile | undefined;
  readonly names?: NamesFile | undefined;
}

/** Numbers in plain units: bytes, milliseconds, requests per second. */
export interface ConfigLimits {
  readonly namesPerDeployment?: number | undefined;
  readonly membersPerDeployment?: number | undefined;
  readonly requestsPerDeployment?: number | undefined;
  readonly connectionsPerDeployment?: number | undefined;
  readonly deployments?: number | undefined;
  readonly names?: number | undefined;
  readonly newDeploymentsPerHour?: number | undefined;
  readonly newNamesPerHour?: number | undefined;
  readonly bundlesPerHour?: number | undefined;
  readonly connectionsPerClient?: number | undefined;
  readonly connections?: number | undefined;
  readonly requests?: number | undefined;
  readonly rate?: number | undefined;
  readonly body?: number | undefined;
  readonly head?: number | undefined;
  readonly headTime?: number | undefined;
  readonly idleTime?: number | undefined;
  readonly answerTime?: number | undefined;
  readonly stallTime?: number | undefined;
  readonly tunnelIdleTime?: number | undefined;
}

const count = z.number().int().min(1).max(1_000_000);

const DURATIONS: Record<string, number> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const duration = z.string().transform((text, context) => {
  const [, amount, unit = ''] = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text) ?? [];
  if (amount !== undefined && Number(amount) > 0) return Number(amount) * (DURATIONS[unit] ?? 1);
  return complain(context, 'a time is written like 500ms, 30s, 5m, 1h or 7d');
});

const SIZES: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };
const size = z.string().transform((text, context) => {
  const [, amount, unit = ''] = /^(\d{1,9})(B|KiB|MiB|GiB)$/.exec(text) ?? [];
  if (amount !== undefined && Number(amount) > 0) return Number(amount) * (SIZES[unit] ?? 1);
  return complain(context, 'a size is written like 16KiB, 100MiB or 1GiB');
});

const rate = z.string().transform((text, context) => {
  const [, amount] = /^(\d{1,9})\/s$/.exec(text) ?? [];
  if (amount !== undefined && Number(amount) > 0) return Number(amount);
  return complain(context, 'a rate is written like 1000/s');
});

const none = z.literal('none').transform(() => undefined);

const publishers = z.union([
  z.literal('invited'),
  z.literal('open'),
  z.strictObject({
    allow: z.array(z.string().refine(isDeploymentId, 'a deployment id has 26 characters of a-z and 2-7')),
  }),
]);

const tlsShape = {
  local: z.strictObject({}).optional(),
  files: z
    .array(z.strictObject({ certificate: z.string(), key: z.string() }))
    .min(1)
    .optional(),
  acme: acmeSchema.optional(),
};
const TLS_CHOICES = 'local, { files: [{ certificate, key }] }, or { acme: { email } }';
const tls = z.union([
  z.literal('local'),
  z.strictObject(tlsShape).refine((value) => Object.values(value).filter(Boolean).length === 1, TLS_CHOICES),
]);

const limitsShape = {
  namesPerDeployment: count.optional(),
  membersPerDeployment: count.optional(),
  requestsPerDeployment: count.optional(),
  connectionsPerDeployment: count.optional(),
  deployments: count.optional(),
  names: count.optional(),
  newDeploymentsPerHour: count.optional(),
  newNamesPerHour: count.optional(),
  bundlesPerHour: count.optional(),
  connectionsPerClient: count.optional(),
  connections: count.optional(),
  requests: count.optional(),
  rate: z.union([none, rate]).optional(),
  body: z.union([none, size]).optional(),
  head: size.refine((bytes) => bytes >= 1_024 && bytes <= 64 * 1_024, 'between 1KiB and 64KiB').optional(),
  headTime: duration.optional(),
  idleTime: duration.optional(),
  answerTime: duration.optional(),
  stallTime: duration.optional(),
  tunnelIdleTime: duration.optional(),
};

const listenShape = {
  https: publicPort.optional(),
  http: z.union([z.literal('off'), publicPort]).optional(),
  overlay: z.array(z.string().startsWith('/', 'a multiaddr begins with /ip4, /ip6 or /dns4')).optional(),
  link: hostPort.optional(),
};

const abuse = z
  .strictObject({
    email: z
      .string()
      .regex(/^[^\s@<>"]{1,64}@[^\s@<>"]{1,190}$/, 'an address like abuse@example.com')
      .optional(),
    url: z
      .string()
      .regex(/^https:\/\/[^\s<>"]{1,500}$/, 'an https address')
      .optional(),
  })
  .refine(({ email, url }) => email !== undefined || url !== undefined, 'email, url, or both');

const auditShape = {
  keep: duration.optional(),
  lines: z.number().int().min(1_000).max(100_000_000).optional(),
};

const directoryShape = {
  listed: z.boolean().optional(),
  region: z.string().refine(isLabel, 'a region is 1–63 of a–z, 0–9 and inner hyphens').optional(),
  terms: z.string().refine(isEntryText, 'one line of at most 256 characters').optional(),
  anchors: z
    .array(z.string().regex(/^\/.+\/p2p\/\w+$/, 'an address that ends in /p2p/<PeerId>'))
    .max(16)
    .optional(),
};

const shape = {
  version: z.literal(1),
  domain,
  publishers: publishers.optional(),
  limits: z.strictObject(limitsShape).optional(),
  tls,
  listen: z.strictObject(listenShape).optional(),
  tcpPorts: portRanges.optional(),
  workers: z.union([z.literal('auto'), z.number().int().min(1).max(MAX_WORKERS)]).optional(),
  anchor: z.boolean().optional(),
  directory: z.strictObject(directoryShape).optional(),
  announce: z.array(z.string().startsWith('/')).optional(),
  publicPort: z.number().int().min(1).max(65_535).optional(),
  http2: z.enum(['on', 'off']).optional(),
  privateIssuers: z.boolean().optional(),
  state: z.string().min(1).optional(),
  store: z
    .string()
    .regex(/^sqlite:./, 'sqlite:PATH (one gateway keeps its own database)')
    .optional(),
  abuse: abuse.optional(),
  interstitial: z.enum(['off', 'unverified']).optional(),
  accessLog: z.string().min(1).optional(),
  audit: z.strictObject(auditShape).optional(),
  metrics: z.strictObject({ listen: hostPort }).optional(),
  console: z.strictObject({ socket: z.string().min(1).optional() }).optional(),
  dns: dnsSchema.optional(),
  names: namesSchema.optional(),
};
const schema = z.strictObject(shape);

/** What later versions will understand, so that today's message is true. */
const NOT_YET: readonly (readonly [path: string, value: RegExp, message: string])[] = [
  ['store', /^"postgres:/, 'a shared PostgreSQL is not there yet; use sqlite:PATH'],
];

/** @throws `GATEWAY_CONFIG_INVALID` */
export function readConfigText(text: string, path: string): ConfigFile {
  const lines = new LineCounter();
  const document = parseDocument(text, {
    lineCounter: lines,
    uniqueKeys: true,
    maxAliasCount: 0,
    merge: false,
  } as object);
  const at = (offset: number, text: string): Problem => {
    const { line, col } = lines.linePos(offset);
    return { offset, text: `${path}:${line || 1}:${col || 1} ${text}` };
  };
  if (document.errors.length > 0) {
    throw invalid(document.errors.map((error) => at(error.pos[0], yamlReason(error.message))));
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 0 });
  } catch {
    throw invalid([at(0, 'aliases are not allowed')]);
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.flatMap(lifted).flatMap((issue): Problem[] => {
    const keys = issue.path.map((key) => (typeof key === 'symbol' ? String(key) : key));
    if (issue.code !== 'unrecognized_keys') {
      return [at(offsetOf(document, keys), `${keys.join('.') || 'file'}: ${explain(issue, value)}`)];
    }
    return issue.keys.map((key) => {
      const meant = closest(key, knownKeys(keys));
      const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
      return at(keyOffset(document, keys, key), `${[...keys, key].join('.')}: unknown key${hint}`);
    });
  });
  throw invalid(problems);
}

/** The place stands in front of it already. */
function yamlReason(message: string): string {
  return (message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, '');
}

/** What is wrong within `tls`, where it is a map: its issues stand inside the one of the choice between word and map. */
function lifted(issue: z.core.$ZodIssue): z.core.$ZodIssue[] {
  const [word, map] = issue.code === 'invalid_union' && issue.path[0] === 'tls' ? issue.errors : [];
  if (
    word === undefined ||
    map === undefined ||
    map.every(({ path, code }) => path.length === 0 && code === 'invalid_type')
  )
    return [issue];
  return map.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] }));
}

function explain(issue: z.core.$ZodIssue, file: unknown): string {
  const [key] = issue.path;
  const value =
    typeof key === 'string' && typeof file === 'object' && file !== null
      ? (file as Record<string, unknown>)[key]
      : undefined;
  if (value === undefined && issue.path.length === 1) return 'missing';
  for (const [name, pattern, message] of NOT_YET) {
    if (name === key && pattern.test(JSON.stringify(value))) return message;
  }
  if (key === 'workers') return `auto, or a number from 1 to ${MAX_WORKERS}`;
  if (issue.code !== 'invalid_union') return issue.message;
  // The branch that got furthest says most; a literal that did not match says least.
  const branches = issue.errors.flat().filter((error) => error.code !== 'invalid_value');
  const deepest = branches.sort((a, b) => b.path.length - a.path.length)[0];
  if (key === 'publishers')
    return deepest?.path.length ? deepest.message : 'invited, open, or { allow: [deployment ids] }';
  if (key === 'tls') return TLS_CHOICES;
  return deepest?.message ?? issue.message;
}

/** Keys the schema knows at `path`. */
function knownKeys(path: readonly PropertyKey[]): string[] {
  if (path.length === 0) return Object.keys(shape);
  if (path[0] === 'limits') return Object.keys(limitsShape);
  if (path[0] === 'listen') {
    if (path.length === 1) return Object.keys(listenShape);
    return path.length === 2 ? ['address', 'proxyProtocol'] : ['from'];
  }
  if (path[0] === 'console') return ['socket'];
  if (path[0] === 'directory') return Object.keys(directoryShape);
  if (path[0] === 'dns') return [...DNS_KEYS];
  if (path[0] === 'names') return [...NAMES_KEYS];
  if (path[0] === 'abuse') return ['email', 'url'];
  if (path[0] === 'audit') return Object.keys(auditShape);
  if (path[0] === 'metrics') return ['listen'];
  if (path[0] === 'tls') return tlsKeys(path.slice(1));
  return ['allow'];
}

function tlsKeys(path: readonly PropertyKey[]): string[] {
  if (path.length === 0) return Object.keys(tlsShape);
  return path[0] === 'acme' ? acmeKeys(path) : ['certificate', 'key'];
}

/** Offset of the value at `path`, or of the nearest thing around it that is there. */
function offsetOf(document: Document, path: readonly (string | number)[]): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return document.contents?.range?.[0] ?? 0;
}

function keyOffset(document: Document, path: readonly (string | number)[], key: string): number {
  const map = path.length === 0 ? document.contents : document.getIn(path, true);
  if (!isMap(map)) return offsetOf(document, path);
  const pair = map.items.find((item) => isScalar(item.key) && item.key.value === key);
  return isNode(pair?.key) && pair.key.range ? pair.key.range[0] : offsetOf(document, path);
}

/** The known key within a third of the letters, if any. */
function closest(key: string, known: readonly string[]): string | undefined {
  const scored = known.map((candidate) => ({
    candidate,
    distance: editDistance(key.toLowerCase(), candidate.toLowerCase()),
  }));
  const best = scored.sort((a, b) => a.distance - b.distance)[0];
  return best && best.distance <= Math.max(1, Math.floor(key.length / 3)) ? best.candidate : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** One thing that is wrong, and where. */
interface Problem {
  readonly offset: number;
  readonly text: string;
}

function invalid(found: readonly Problem[]): Error {
  const problems = found.toSorted((a, b) => a.offset - b.offset).map(({ text }) => text);
  return refusal('GATEWAY_CONFIG_INVALID', problems.join('\n'), { details: { problems } });
}
