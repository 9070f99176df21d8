/** Spells out a file's short forms: the second pass made sure that each can be read. */
import type { GatewayPin } from '../schema.ts';
import { parseDuration, parseExpiry, type Expiry } from './duration.ts';
import { spellAuth } from './file-auth.ts';
import type { DeploymentFile, FileMember, FileNetwork, FilePublish, FileService } from './file.ts';
import { spellRules } from './file-rules.ts';
import type {
  RawFile,
  RawGatewayPin,
  RawMember,
  RawNetwork,
  RawOwners,
  RawPublish,
  RawService,
} from './file-schema.ts';

export function spellOut(raw: RawFile): DeploymentFile {
  return {
    name: raw.name,
    owners: spellOwners(raw.owners ?? {}),
    network: spellNetwork(raw.network ?? {}),
    anchors: raw.anchors ?? [],
    members: Object.entries(raw.members).map(([name, member]) => spellMember(name, member ?? {})),
    services: Object.entries(raw.services ?? {}).map(([name, service]) => spellService(name, service)),
    access: (raw.access ?? []).map(({ from, to, expires }) => ({
      from: list(from),
      to: list(to),
      ...expiryOf(expires),
    })),
    egress: (raw.egress ?? []).map(({ from, via, expires }) => ({ from: list(from), via, ...expiryOf(expires) })),
    publish: Object.entries(raw.publish ?? {}).map(([name, line]) => spellPublish(name, line)),
  };
}

function spellOwners({ threshold, keys }: RawOwners): DeploymentFile['owners'] {
  return {
    ...(threshold === undefined ? {} : { threshold }),
    ...(keys === undefined
      ? {}
      : {
          keys: Object.entries(keys).map(([name, value]) =>
            typeof value === 'string'
              ? { name, key: value, weight: 1 }
              : { name, key: value.key, weight: value.weight ?? 1 },
          ),
        }),
  };
}

function spellNetwork({ ipv4, plane = 'auto', maxStale, postQuantum }: RawNetwork): FileNetwork {
  const maxStaleMs = maxStale === undefined ? undefined : parseDuration(maxStale);
  return {
    plane,
    ...(ipv4 === undefined ? {} : { ipv4 }),
    ...(maxStaleMs === undefined ? {} : { maxStale: maxStaleMs }),
    ...(postQuantum === undefined ? {} : { postQuantum }),
  };
}

function spellMember(name: string, { tags = [], keeper = false, node, via, ipv4, expires }: RawMember): FileMember {
  return {
    name,
    tags,
    keeper,
    ...(node === undefined ? {} : { node }),
    ...(via === undefined ? {} : { via }),
    ...(ipv4 === undefined ? {} : { ipv4 }),
    ...expiryOf(expires),
  };
}

function spellService(name: string, raw: RawService): FileService {
  const { on, port, target = `127.0.0.1:${port}`, protocol = 'tcp', health, proxyProtocol } = raw;
  return {
    name,
    on: list(on),
    port,
    target,
    protocol,
    ...(health === undefined ? {} : { health }),
    ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
  };
}

function spellPublish(name: string, raw: RawPublish): FilePublish {
  const { service, port, transfer, gateway, auth } = raw;
  // Of a port nobody at the gateway reads a byte.
  const { tls = port === undefined ? 'terminate' : 'passthrough' } = raw;
  const rules = spellRules(raw);
  const gateways = typeof gateway === 'string' || !isList(gateway) ? [gateway] : gateway;
  return {
    name,
    service,
    tls,
    ...(port === undefined ? {} : { port }),
    ...(transfer === undefined ? {} : { transfer }),
    gateways: gateways.map((one) => (typeof one === 'string' ? one : pinOf(one))),
    ...(auth === undefined ? {} : { auth: spellAuth(auth, rules?.enforce) }),
    ...(rules === undefined ? {} : { rules }),
  };
}

function pinOf({ domain, peers, box }: RawGatewayPin): GatewayPin {
  return { domain, peers, ...(box === undefined ? {} : { box }) };
}

function expiryOf(text: string | undefined): { expires?: Expiry } {
  const expires = text === undefined ? undefined : parseExpiry(text);
  return expires === undefined ? {} : { expires };
}

function list(value: string | readonly string[]): readonly string[] {
  return typeof value === 'string' ? [value] : value;
}

function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value);
}
