/**
 * The shape of a deployment file as it is written: the second pass, and the source of the JSON Schema that
 * editors use. Patterns are given as patterns so that the JSON Schema has them; what a pattern cannot say
 * is refined beside it.
 */
import { isDeploymentId, isLabel, isPeerId, parseKey } from '@moat/core';
import { z } from 'zod';
import { CONTRACT_LIMITS } from '../limits.ts';
import { isHostName, peerIdOfMultiaddr } from '../multiaddr.ts';
import type { PostQuantum, ServiceProtocol } from '../schema.ts';
import { isTarget } from '../target.ts';
import { DURATION_PATTERN, parseDuration, parseExpiry } from './duration.ts';
import type { FieldPath } from './diagnostic.ts';
import { authFields, authSchema, type RawAuth } from './file-auth.ts';
import { ruleFields, rulesShape, type RawRules } from './file-rules.ts';

/** A file as written, before its short forms are spelled out. */
export interface RawFile {
  readonly version: 1;
  readonly name: string;
  readonly owners?: RawOwners | null;
  readonly network?: RawNetwork | null;
  readonly anchors?: readonly string[] | null;
  readonly members: Readonly<Record<string, RawMember | null>>;
  readonly services?: Readonly<Record<string, RawService>> | null;
  readonly access?: readonly RawGrant[] | null;
  readonly egress?: readonly RawEgress[] | null;
  readonly publish?: Readonly<Record<string, RawPublish>> | null;
}
export interface RawOwners {
  readonly threshold?: number;
  readonly keys?: Readonly<Record<string, string | { readonly key: string; readonly weight?: number }>>;
}
export interface RawNetwork {
  readonly ipv4?: string;
  readonly plane?: 'auto' | 'wireguard' | 'rootless';
  readonly maxStale?: string;
  readonly postQuantum?: PostQuantum;
}
export interface RawMember {
  readonly tags?: readonly string[];
  readonly keeper?: boolean;
  readonly node?: string;
  readonly via?: string;
  readonly ipv4?: string;
  readonly expires?: string;
}
export interface RawService {
  readonly on: string | readonly string[];
  readonly port: number;
  readonly target?: string;
  readonly protocol?: ServiceProtocol;
  readonly health?: string;
  readonly proxyProtocol?: 'v2';
}
export interface RawGrant {
  readonly from: string | readonly string[];
  readonly to: string | readonly string[];
  readonly expires?: string;
}
export interface RawEgress {
  readonly from: string | readonly string[];
  readonly via: string;
  readonly expires?: string;
}
export interface RawGatewayPin {
  readonly domain: string;
  readonly peers: readonly string[];
  readonly box?: string;
}
export interface RawPublish extends RawRules {
  readonly gateway: string | RawGatewayPin | readonly (string | RawGatewayPin)[];
  readonly service: string;
  readonly tls?: 'terminate' | 'passthrough';
  readonly port?: number;
  readonly transfer?: string;
  readonly auth?: RawAuth;
}

type Text = z.ZodType<string>;

const LABEL_PATTERN = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const LABEL_RULE = 'a name is 1–63 of a–z, 0–9 and inner hyphens';

const label: Text = z.string().max(63, { error: LABEL_RULE, abort: true }).regex(LABEL_PATTERN, LABEL_RULE);
const selector: Text = text(
  67,
  /^(?:tag:)?[a-z0-9][a-z0-9-]*$/,
  isSelector,
  'write a member as web-1, a tag as tag:web',
);
const ownerKey: Text = text(
  64,
  /^ed25519:[\w-]{43}$/,
  holds((key) => parseKey('ed25519', key)),
  'a key is written as ed25519:… (moat key show prints it)',
);
const ownerKeyOrHandle: Text = text(
  64,
  /^(?:ed25519:[\w-]{43}|@[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)$/,
  (key) => key.startsWith('@') || ownerKey.safeParse(key).success,
  'an owner is a key, as ed25519:… (moat key show prints it), or a handle, as @ben',
);
const boxKey: Text = text(
  64,
  /^x25519:[\w-]{43}$/,
  holds((key) => parseKey('x25519', key)),
  'a box key is written as x25519:…',
);
const host: Text = text(253, /^[a-z0-9._-]+$/, isHostName, 'a host name is written in lower case, as apps.example.com');
const multiaddr: Text = text(
  512,
  /^\/.+\/p2p\/[1-9A-HJ-NP-Za-km-z]+$/,
  (address) => holds(peerIdOfMultiaddr)(address) && address.split('/p2p/').length === 2,
  'an address here reaches its peer directly and ends in /p2p/<PeerId>',
);
const anchor: Text = text(
  512,
  /^(?:\/.+\/p2p\/[1-9A-HJ-NP-Za-km-z]+|[a-z0-9._-]+)$/,
  (address) => (address.startsWith('/') ? multiaddr.safeParse(address).success : isHostName(address)),
  'an anchor is a host name, as gw.example.com, or an address that ends in /p2p/<PeerId>',
);
const expiry: Text = text(
  32,
  new RegExp(`${DURATION_PATTERN.source}|^\\d{4}-\\d\\d-\\d\\d(?:T.+Z)?$`),
  (value) => parseExpiry(value) !== undefined,
  'a time is written as 30d, 1h30m or 2026-12-01T10:00:00Z',
);

const oneOrMany = (item: Text, what: string): z.ZodType<string | string[]> =>
  z.union([item, z.array(item).min(1, `name at least one ${what}`).max(CONTRACT_LIMITS.selectors)], {
    error: `expected a ${what} or a list of them`,
  });

const owners = z.strictObject({
  threshold: z
    .exactOptional(
      z
        .int()
        .min(1)
        .max(CONTRACT_LIMITS.weight * CONTRACT_LIMITS.owners),
    )
    .describe('How much weight of signatures a new version needs.'),
  keys: z
    .exactOptional(
      z.record(
        label,
        z.union(
          [
            ownerKeyOrHandle,
            z.strictObject({
              key: ownerKeyOrHandle,
              weight: z.exactOptional(z.int().min(1).max(CONTRACT_LIMITS.weight)),
            }),
          ],
          {
            error: 'expected a key, as ed25519:…, a handle, as @ben, or { key, weight }',
          },
        ),
      ),
    )
    .describe("Who decides, by name. Default: the writer's own key."),
});

const network = z.strictObject({
  ipv4: z.exactOptional(z.string().max(18)).describe('The private IPv4 network, as 10.77.0.0/16.'),
  plane: z.exactOptional(z.enum(['auto', 'wireguard', 'rootless'])).describe('How members reach it.'),
  maxStale: z
    .exactOptional(
      text(32, DURATION_PATTERN, (value) => parseDuration(value) !== undefined, 'a duration is written as 12h or 30d'),
    )
    .describe('How long a machine goes on without hearing from a keeper; at least 1h. Default: for ever.'),
  postQuantum: z
    .exactOptional(z.enum(['prefer', 'require']))
    .describe(
      'A pre-shared key for each pair of the WireGuard plane: where both can, or no packets without. Default: off.',
    ),
});

const member = z.strictObject({
  tags: z
    .exactOptional(z.array(label).max(CONTRACT_LIMITS.tagsPerMember))
    .describe('Groups, named elsewhere as tag:<tag>.'),
  keeper: z.exactOptional(z.boolean()).describe('Meant to be always on: it lets machines join while owners are away.'),
  node: z
    .exactOptional(text(64, /^12D3Koo\w+$/, isPeerId, 'a PeerId is written as 12D3Koo… (moat status prints it)'))
    .describe('Pins a machine by its PeerId.'),
  via: z
    .exactOptional(label)
    .describe(
      'A device with stock WireGuard, as a phone: the member it connects to. moat wireguard export makes its key.',
    ),
  ipv4: z
    .exactOptional(z.ipv4('an IPv4 address is written as 10.77.0.9'))
    .describe('Default: allocated once and kept.'),
  expires: z.exactOptional(expiry).describe('Ends the membership: 30d after it is first applied, or at a time.'),
});

const service = z.strictObject({
  on: oneOrMany(selector, 'member or tag').describe('Who offers it: members or tag:<tag>.'),
  port: z.int().min(1).max(65_535).describe('Its port inside the network.'),
  target: z
    .exactOptional(text(320, /^.+:\d{1,5}$/, isTarget, 'a target is written as host:port, as 127.0.0.1:3000'))
    .describe("Where it listens on its member's machine. Default: 127.0.0.1 and the same port."),
  protocol: z.exactOptional(z.enum(['tcp', 'http', 'grpc', 'udp'])).describe('Default: tcp.'),
  health: z
    .exactOptional(text(512, /^\/[!-"$-~]*$/, () => true, 'a health path begins with /'))
    .describe('Path that answers 2xx when an http service is well.'),
  proxyProtocol: z
    .exactOptional(z.literal('v2'))
    .describe('Each connection begins with a PROXY protocol header that names the client.'),
});

const grant = z.strictObject({
  from: oneOrMany(selector, 'member or tag').describe('Who may: members or tag:<tag>.'),
  to: oneOrMany(label, 'service').describe('Which services.'),
  expires: z.exactOptional(expiry).describe('30d after it is first applied, or at a time.'),
});

const egress = z.strictObject({
  from: oneOrMany(selector, 'member or tag').describe('Who may: members or tag:<tag>.'),
  via: label.describe('The member by whose machine they leave.'),
  expires: z.exactOptional(expiry).describe('30d after it is first applied, or at a time.'),
});

const gatewayPin = z.strictObject({
  domain: host,
  peers: z.array(multiaddr).min(1, 'name at least one address').max(CONTRACT_LIMITS.peers),
  box: z.exactOptional(boxKey),
});

const GATEWAY_RULE = 'expected a domain, as apps.example.com, or { domain, peers, box }, or a list of these';
const oneGateway = z.union([host, gatewayPin], { error: GATEWAY_RULE });

const publish = z.strictObject({
  gateway: z
    .union([host, gatewayPin, z.array(oneGateway).min(1, 'name at least one gateway').max(CONTRACT_LIMITS.peers)], {
      error: GATEWAY_RULE,
    })
    .describe('Where it is published; resolved once and pinned.'),
  service: label.describe('The service it leads to.'),
  tls: z
    .exactOptional(z.enum(['terminate', 'passthrough']))
    .describe("Who ends TLS: the gateway, or the member's machine."),
  port: z
    .exactOptional(z.int().min(1).max(65_535))
    .describe('A TCP port of the gateway whose bytes all go to a tcp service, unread.'),
  transfer: z
    .exactOptional(z.string().refine(isHeir, 'the id of a deployment (26 of a–z and 2–7), or nobody'))
    .describe('Gives the name up: to another deployment, by its id, or to nobody. It is not served any more.'),
  auth: z.exactOptional(authSchema).describe('Who may come in; the gateway asks. Default: everybody.'),
  ...rulesShape,
});

const file = z.strictObject({
  version: z.literal(1).describe('The version of this format.'),
  name: label.describe('The deployment and its network; names inside end in .<name>.internal.'),
  owners: z.exactOptional(z.nullable(owners)).describe('Who decides.'),
  network: z.exactOptional(z.nullable(network)),
  anchors: z
    .exactOptional(z.nullable(z.array(anchor).max(CONTRACT_LIMITS.anchors)))
    .describe('Where members meet; [] = on one LAN only.'),
  members: z.record(label, z.nullable(member)).describe('Places that machines take.'),
  services: z.exactOptional(z.nullable(z.record(label, service))).describe('Named ports inside the network.'),
  access: z
    .exactOptional(z.nullable(z.array(grant).max(CONTRACT_LIMITS.grants)))
    .describe('Who may reach what; nothing else is reachable.'),
  egress: z
    .exactOptional(z.nullable(z.array(egress).max(CONTRACT_LIMITS.egress)))
    .describe('Who may leave to the internet through a member; WireGuard plane only.'),
  publish: z
    .exactOptional(
      z.nullable(
        z.record(
          text(
            253,
            /^[a-z0-9._-]+$/,
            isPublishName,
            'a public name is one label, as shop, or a host name, as www.shop.example',
          ),
          publish,
        ),
      ),
    )
    .describe('What is public, by name; nothing else is.'),
});

/** The second pass. */
export const fileSchema: z.ZodType<RawFile> = file;

/** The fields that may stand in the object at `path`; empty where names are free. */
export function knownFields(path: FieldPath): readonly string[] {
  const [section, , third] = path;
  if (section === undefined) return Object.keys(file.shape);
  if (section === 'network') return Object.keys(network.shape);
  if (section === 'owners') return path.length === 1 ? Object.keys(owners.shape) : ['key', 'weight'];
  if (section === 'publish' && third === 'gateway') return Object.keys(gatewayPin.shape);
  if (section === 'publish' && third === 'auth') return authFields(path.slice(3));
  if (section === 'publish' && third !== undefined) return ruleFields(path.slice(2));
  const entries = { members: member, services: service, access: grant, egress, publish };
  const entry = Object.hasOwn(entries, section) ? entries[section as keyof typeof entries] : undefined;
  return entry === undefined || path.length !== 2 ? [] : Object.keys(entry.shape);
}

function text(maxChars: number, pattern: RegExp, is: (text: string) => boolean, rule: string): Text {
  // Aborts before the checks run: they then never see a long string.
  return z
    .string()
    .max(maxChars, { error: rule, abort: true })
    .regex(pattern, { error: rule, abort: true })
    .refine(is, rule);
}

function isHeir(text: string): boolean {
  return text === 'nobody' || isDeploymentId(text);
}

function isSelector(value: string): boolean {
  return isLabel(value.startsWith('tag:') ? value.slice(4) : value);
}

function isPublishName(name: string): boolean {
  return isLabel(name) || (name.includes('.') && isHostName(name) && name === name.toLowerCase());
}

/** Turns a function that throws a coded error into a question. */
function holds(read: (text: string) => unknown): (text: string) => boolean {
  return (value) => {
    try {
      read(value);
      return true;
    } catch {
      return false;
    }
  };
}
