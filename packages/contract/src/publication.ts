/** What one gateway is shown of a contract: a name, the service behind it, who may serve it. */
import { createHash } from 'node:crypto';
import { toBase64url, type Hash, type PeerId } from '@moat/core';
import { canonicalBytes, canonicalize } from './canonical.ts';
import { peerIdOfMultiaddr } from './multiaddr.ts';
import { servicesOfLine } from './publish-rules.ts';
import { memberResolver, witnessesOf } from './selector.ts';
import type { Contract, Member, OtherService, Publication, PublicationMember, PublishLine, Service } from './schema.ts';

/**
 * The publications a contract makes, one per publish line, in the order of the lines; none once the
 * deployment has ended. Tags are resolved and arrays sorted, so every node derives the same bytes.
 */
export function publicationsOf(contract: Contract): Publication[] {
  if (contract.state === 'ended') return [];
  const services = new Map(contract.services.map((service) => [service.name, service]));
  const context = { contract, services, resolve: memberResolver(contract), witnesses: witnessesOf(contract) };
  return contract.publish.flatMap((line) => publicationOf(line, context) ?? []);
}

/** `SHA-256("moat/publication/1" || 0x00 || JCS(publication))`, as the head lists it. */
export function publicationHash(publication: Publication): Hash {
  const hash = createHash('sha256').update('moat/publication/1').update(Uint8Array.of(0));
  return toBase64url(hash.update(canonicalBytes(publication)).digest());
}

/** What all lines share. */
interface Context {
  readonly contract: Contract;
  readonly services: ReadonlyMap<string, Service>;
  readonly resolve: (selectors: readonly string[]) => Member[];
  readonly witnesses: readonly PeerId[];
}

/** Undefined where the line names no service of the contract, which `checkContract` refuses. */
function publicationOf(
  line: PublishLine,
  { contract, services, resolve, witnesses }: Context,
): Publication | undefined {
  const service = services.get(line.service);
  if (service === undefined) return undefined;
  const membersOf = ({ on }: Service): PublicationMember[] => sortedByText(resolve(on).flatMap(placeOf));
  const [, ...named] = servicesOfLine(line);
  const others = named.flatMap((name): OtherService[] => {
    const other = services.get(name);
    return other === undefined ? [] : [{ service: name, kind: kindOf(other), members: membersOf(other) }];
  });
  return {
    type: 'moat/publication/1',
    deployment: contract.deployment,
    salt: line.salt,
    gateways: [...new Set(line.gateway.peers.map(peerIdOfMultiaddr))].sort(),
    name: line.name,
    service: line.service,
    kind: kindOf(service),
    tls: line.tls,
    ...(line.port === undefined ? {} : { port: line.port }),
    ...(line.transfer === undefined ? {} : { transfer: line.transfer }),
    members: membersOf(service),
    ...(line.auth === undefined ? {} : { auth: line.auth }),
    ...(line.rules === undefined ? {} : { rules: line.rules }),
    ...(others.length === 0 ? {} : { others }),
    witnesses,
  };
}

/** What a gateway needs to know of it: whether it carries requests or bytes. */
function kindOf({ protocol }: Service): Publication['kind'] {
  return protocol === 'tcp' ? 'tcp' : 'http';
}

function placeOf({ node, invite, expires }: Member): PublicationMember[] {
  const ends = expires === undefined ? {} : { ends: expires };
  if (node !== undefined) return [{ node, ...ends }];
  return invite === undefined ? [] : [{ invite: invite.key, expires: invite.expires, ...ends }];
}

/** By canonical text, in code units: an order that does not depend on the contract's. */
function sortedByText<T>(values: readonly T[]): T[] {
  const keyed = values.map((value) => ({ value, text: canonicalize(value) }));
  return keyed.sort((a, b) => (a.text < b.text ? -1 : 1)).map(({ value }) => value);
}
