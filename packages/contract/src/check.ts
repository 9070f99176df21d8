/** What a schema cannot say: a contract's references, uniqueness and reachability. */
import { MoatError } from '@moat/core';
import { checkAddresses } from './addresses.ts';
import { canonicalize } from './canonical.ts';
import { CONTRACT_LIMITS } from './limits.ts';
import { isReachable } from './parse/owners.ts';
import { ruleProblem, servicesOfLine } from './publish-rules.ts';
import { memberResolver, selectorsOf, tagOf, witnessesOf } from './selector.ts';
import type { Contract, Member, PublishLine } from './schema.ts';

/**
 * The rules every node holds every contract to, whoever wrote it. The contract has been parsed: its fields
 * are well-formed one by one. A tag that no member carries is no error: it selects nobody.
 * @throws `CONTRACT_INVALID`, `ADDRESS_INVALID`; `details.path` names the field, as `members[2].invite`.
 */
export function checkContract(contract: Contract): void {
  checkOwners(contract);
  checkMembers(contract);
  checkAddresses(contract);
  checkServices(contract);
  checkAccess(contract);
  checkEgress(contract);
  checkPublish(contract);
}

function checkOwners({ owners }: Contract): void {
  unique(
    owners.keys.map(({ name }) => name),
    (i) => `owners.keys[${i}].name`,
    'two owners have this name',
  );
  unique(
    owners.keys.map(({ key }) => key),
    (i) => `owners.keys[${i}].key`,
    'two owners have this key',
  );
  if (!isReachable(owners)) throw invalid('owners.threshold', 'all weights together do not reach it');
}

function checkMembers(contract: Contract): void {
  const { members } = contract;
  const at = (field: string) => (i: number) => `members[${i}].${field}`;
  unique(
    members.map(({ name }) => name),
    at('name'),
    'two members have this name',
  );
  unique(
    members.map(({ node }) => node),
    at('node'),
    'two members are this node',
  );
  unique(
    members.map(({ wireguard }) => wireguard),
    at('wireguard'),
    'two members have this WireGuard key',
  );
  unique(
    members.map(({ invite }) => invite?.key),
    at('invite.key'),
    'two members have this invite',
  );
  const held = members.findIndex(
    ({ node, wireguard, invite }) => invite !== undefined && (node ?? wireguard) !== undefined,
  );
  if (held >= 0) throw invalid(at('invite')(held), 'a member with a machine has no invite');

  checkDevices(members);

  const keepers = witnessesOf(contract).length;
  if (keepers === 0) throw invalid('members', 'at least one member with a node is a keeper');
  if (keepers > CONTRACT_LIMITS.keepers) throw invalid('members', `more than ${CONTRACT_LIMITS.keepers} keepers`);
}

function checkDevices(members: readonly Member[]): void {
  const hubs = new Set(members.flatMap(({ name, via }) => (via === undefined ? name : [])));
  for (const [i, { via, node, invite, keeper }] of members.entries()) {
    if (via === undefined) continue;
    if (!hubs.has(via)) throw invalid(`members[${i}].via`, `${via} is no member with a machine of its own`);
    if ((node ?? invite ?? keeper) !== undefined) {
      throw invalid(`members[${i}].via`, 'a device has no machine, no invite and is no keeper');
    }
  }
}

function checkServices({ services, members }: Contract): void {
  unique(
    services.map(({ name }) => name),
    (i) => `services[${i}].name`,
    'two services have this name',
  );
  const names = new Set(members.map(({ name }) => name));
  const devices = new Set(members.flatMap((member) => (member.via === undefined ? [] : selectorsOf(member))));
  for (const [i, { on, protocol, health, proxyProtocol }] of services.entries()) {
    known(on, names, (k) => `services[${i}].on[${k}]`);
    const device = on.findIndex((one) => devices.has(one));
    if (device >= 0) throw invalid(`services[${i}].on[${device}]`, 'a device offers no service');
    if (health !== undefined && protocol !== 'http') {
      throw invalid(`services[${i}].health`, 'only an http service has a health path');
    }
    if (proxyProtocol !== undefined && (protocol === 'grpc' || protocol === 'udp')) {
      throw invalid(`services[${i}].proxyProtocol`, PROXY_REFUSALS[protocol]);
    }
  }
}

function checkAccess({ access, members, services }: Contract): void {
  if (access.length === 0) return;
  const names = new Set(members.map(({ name }) => name));
  const targets = new Set(services.map(({ name }) => name));
  for (const [i, { from, to }] of access.entries()) {
    known(from, names, (k) => `access[${i}].from[${k}]`);
    for (const [k, service] of to.entries()) {
      if (!targets.has(service)) throw invalid(`access[${i}].to[${k}]`, `there is no service ${service}`);
    }
  }
}

function checkEgress({ egress = [], members }: Contract): void {
  if (egress.length === 0) return;
  const names = new Set(members.map(({ name }) => name));
  const byName = new Map(members.map((member) => [member.name, member]));
  for (const [i, { from, via }] of egress.entries()) {
    known(from, names, (k) => `egress[${i}].from[${k}]`);
    const hub = byName.get(via);
    if (hub === undefined || hub.via !== undefined) {
      throw invalid(`egress[${i}].via`, `${via} is no member with a machine of its own`);
    }
    for (const [k, name] of from.entries()) {
      const behind = byName.get(name)?.via;
      if (behind !== undefined && behind !== via) {
        throw invalid(
          `egress[${i}].from[${k}]`,
          `${name} is a device behind ${behind}, and leaves by it or not at all`,
        );
      }
    }
  }
}

function checkPublish(contract: Contract): void {
  const { publish } = contract;
  const targets = new Map(contract.services.map((service) => [service.name, service]));
  const resolve = memberResolver(contract);
  const witnesses = witnessesOf(contract).length;
  let [places, chars] = [0, 0];
  for (const [i, line] of publish.entries()) {
    const { service: name, tls, port, auth, gateway, rules } = line;
    const service = targets.get(name);
    if (service === undefined) throw invalid(`publish[${i}].service`, `there is no service ${name}`);
    if (service.protocol === 'udp') throw invalid(`publish[${i}].service`, 'a gateway carries no datagrams');
    if (port !== undefined && (tls !== 'passthrough' || service.protocol !== 'tcp')) {
      throw invalid(
        `publish[${i}].port`,
        'a port of its own carries the bytes of a tcp service, with tls: passthrough',
      );
    }
    const problem = ruleProblem(rules, { service, tls, services: targets });
    if (problem !== undefined) throw invalid(`publish[${i}].rules.${problem.rule}`, problem.message);
    if (auth !== undefined && (tls === 'passthrough' || service.protocol === 'tcp')) {
      throw invalid(`publish[${i}].auth`, 'a gateway can ask who comes in only where it ends TLS and speaks http');
    }
    if ((auth?.basic ?? auth?.oidc) !== undefined && gateway.box === undefined) {
      throw invalid(`publish[${i}].auth`, 'its gateway has no box key');
    }
    checkEnforced(line, `publish[${i}].auth`);
    const members = servicesOfLine(line).flatMap((each) => resolve(targets.get(each)?.on ?? []));
    places += members.length + witnesses;
    chars +=
      LINE_CHARS +
      (auth === undefined ? 0 : canonicalize(auth).length) +
      (rules === undefined ? 0 : canonicalize(rules).length) +
      witnesses * WITNESS_CHARS;
    chars += members.reduce((sum, member) => sum + placeChars(member), 0);
    if (chars > CONTRACT_LIMITS.publishedChars) {
      throw invalid(`publish[${i}]`, 'all publications together, with their secrets, are too large for a gateway');
    }
    // A gateway reads no larger bundle, and every node hashes each publication.
    if (places > CONTRACT_LIMITS.publishedPlaces) {
      throw invalid(
        `publish[${i}]`,
        `all publications together list more than ${CONTRACT_LIMITS.publishedPlaces} places`,
      );
    }
  }
  unique(
    publish.map(({ name, gateway }) => `${name} ${gateway.domain}`),
    (i) => `publish[${i}].name`,
    'this name is published twice at one gateway',
  );
  unique(
    publish.map(({ port, gateway }) => (port === undefined ? undefined : `${port} ${gateway.domain}`)),
    (i) => `publish[${i}].port`,
    'this port is published twice at one gateway',
  );
  // Two publications with one salt could be told apart from their hashes alone.
  unique(
    publish.map(({ salt }) => salt),
    (i) => `publish[${i}].salt`,
    'two publications have this salt',
  );
}

/** Members hold clients only to what they can check themselves, and are shown hashes for nothing else. */
function checkEnforced({ auth, rules }: PublishLine, path: string): void {
  if (auth === undefined) return;
  const { enforce, users, basic, oidc, mtls } = auth;
  if (enforce === undefined && users !== undefined) throw invalid(`${path}.users`, 'members ask nobody here');
  if (enforce === undefined) return;
  if (rules?.enforce !== 'member') throw invalid(`${path}.enforce`, 'the rules of the line are not kept by members');
  if ((basic ?? oidc ?? mtls) !== undefined) {
    throw invalid(`${path}.enforce`, 'members can check only users and keys');
  }
}

/** Why a service does not begin connections with a header. */
const PROXY_REFUSALS = { grpc: 'clients of a grpc service share connections', udp: 'datagrams have no connections' };

/** What one line, witness or place is in what a gateway is shown, about; a little more than most are. */
const [LINE_CHARS, WITNESS_CHARS, NODE_CHARS, INVITE_CHARS, END_CHARS] = [400, 55, 64, 112, 35];

function placeChars({ node, invite, expires }: Member): number {
  const held = node === undefined ? (invite === undefined ? 0 : INVITE_CHARS) : NODE_CHARS;
  return held + (expires === undefined || held === 0 ? 0 : END_CHARS);
}

function known(selectors: readonly string[], names: ReadonlySet<string>, path: (i: number) => string): void {
  for (const [i, selector] of selectors.entries()) {
    if (tagOf(selector) === undefined && !names.has(selector)) {
      throw invalid(path(i), `there is no member ${selector}`);
    }
  }
}

function unique(values: readonly (string | undefined)[], path: (i: number) => string, reason: string): void {
  const seen = new Set<string>();
  for (const [i, value] of values.entries()) {
    if (value === undefined) continue;
    if (seen.has(value)) throw invalid(path(i), reason);
    seen.add(value);
  }
}

function invalid(path: string, reason: string): MoatError<'CONTRACT_INVALID'> {
  return new MoatError('CONTRACT_INVALID', `the contract is invalid at ${path}`, { reason, details: { path } });
}
