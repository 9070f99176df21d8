/** A contract written out as a deployment file: `moat fmt --from-contract`. */
import { MoatError } from '@moat/core';
import { Document, isCollection, isMap, isPair, isScalar, visit } from 'yaml';
import { canonicalize } from '../canonical.ts';
import type { Contract, Egress, Grant, Member, Owners, PublishLine, Service } from '../schema.ts';
import { formatDuration } from './duration.ts';
import { writeAuth, type RawAuth } from './file-auth.ts';
import { writeRules } from './file-rules.ts';
import { printDocument } from './format.ts';

const MODELINE = ' yaml-language-server: $schema=./node_modules/@moat/contract/schema/moat.v1.json';
const SPACED: ReadonlySet<unknown> = new Set(['members', 'services', 'access', 'egress', 'publish']);

/**
 * A file that says what `contract` says. Machines, allocated addresses, invites, salts and pins stay in the
 * contract: `buildContract` with it as the current version gives it back unchanged.
 * @throws `CONTRACT_INVALID` for a name that is published differently at different gateways, which no file can say.
 */
export function fileFromContract(contract: Contract): string {
  const { name, owners, network, anchors, members, services, access, egress, publish } = contract;
  // Maps, since an object would put names that are numbers first.
  const document = new Document({
    version: 1,
    name,
    owners: { threshold: owners.threshold, keys: new Map(owners.keys.map((owner) => [owner.name, keyFields(owner)])) },
    network: {
      ipv4: network.ipv4,
      plane: network.plane,
      ...(network.maxStale === undefined ? {} : { maxStale: formatDuration(network.maxStale) }),
      ...(network.postQuantum === undefined ? {} : { postQuantum: network.postQuantum }),
    },
    anchors,
    members: new Map(members.map((member) => [member.name, memberFields(member)])),
    services: new Map(services.map((service) => [service.name, serviceFields(service)])),
    access: access.map(grantFields),
    ...(egress === undefined ? {} : { egress: egress.map(egressFields) }),
    publish: publishEntries(publish),
  });
  document.commentBefore = MODELINE;
  layOut(document);
  return printDocument(document);
}

/** Sections are blocks, each of their entries is one line as long as it fits. */
function layOut(document: Document): void {
  visit(document, {
    Pair(_, { key }, path) {
      if (path.length === 2 && isScalar(key) && SPACED.has(key.value)) key.spaceBefore = true;
    },
    Collection(_, node, path) {
      const section = path.find(isPair)?.key;
      const isShort =
        isScalar(section) && !SPACED.has(section.value) && section.value !== 'anchors' && section.value !== 'owners';
      const depth = path.filter(isCollection).length;
      if (node.items.length === 0 || depth >= 2 || (depth === 1 && isShort && isMap(node))) node.flow = true;
    },
  });
}

function keyFields({ key, weight }: Owners['keys'][number]): string | { key: string; weight: number } {
  return weight === 1 ? key : { key, weight };
}

function memberFields({ tags, keeper, via, expires }: Member): object {
  return {
    ...(via === undefined ? {} : { via }),
    ...(tags.length === 0 ? {} : { tags }),
    ...(keeper === true ? { keeper } : {}),
    ...(expires === undefined ? {} : { expires }),
  };
}

function serviceFields({ on, port, target, protocol, health, proxyProtocol }: Service): object {
  return {
    on,
    port,
    target,
    ...(protocol === 'tcp' ? {} : { protocol }),
    ...(health === undefined ? {} : { health }),
    ...(proxyProtocol === undefined ? {} : { proxyProtocol }),
  };
}

function grantFields({ from, to, expires }: Grant): object {
  return { from, to, ...(expires === undefined ? {} : { expires }) };
}

function egressFields({ from, via, expires }: Egress): object {
  return { from, via, ...(expires === undefined ? {} : { expires }) };
}

function publishEntries(lines: readonly PublishLine[]): Map<string, object> {
  interface Entry extends Pick<PublishLine, 'service' | 'tls' | 'port' | 'transfer' | 'rules'> {
    readonly auth: RawAuth | null;
    readonly domains: string[];
  }
  const byName = new Map<string, Entry>();
  for (const { name, service, tls, port, transfer, gateway, auth, rules } of lines) {
    const ofPort = { ...(port === undefined ? {} : { port }), ...(transfer === undefined ? {} : { transfer }) };
    const written = auth === undefined ? null : writeAuth(auth);
    const entry = byName.get(name) ?? {
      service,
      tls,
      ...ofPort,
      auth: written,
      domains: [],
      ...(rules === undefined ? {} : { rules }),
    };
    const { domains: _domains, ...said } = entry;
    const says = { service, tls, ...ofPort, auth: written, ...(rules === undefined ? {} : { rules }) };
    if (canonicalize(said) !== canonicalize(says)) {
      throw new MoatError('CONTRACT_INVALID', `${name} is published differently at different gateways`, {
        details: { name },
      });
    }
    entry.domains.push(gateway.domain);
    byName.set(name, entry);
  }
  return new Map(
    [...byName].map(([name, { service, tls, port, transfer, auth, domains, rules }]) => [
      name,
      {
        gateway: domains.length === 1 ? domains[0] : domains,
        service,
        ...(tls === 'terminate' || port !== undefined ? {} : { tls }),
        ...(port === undefined ? {} : { port }),
        ...(transfer === undefined ? {} : { transfer }),
        ...(auth === null ? {} : { auth }),
        ...(rules === undefined ? {} : writeRules(rules)),
      },
    ]),
  );
}
