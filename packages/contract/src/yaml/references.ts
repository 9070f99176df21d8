/** The third pass: names lead somewhere, nothing is there twice, what is asked for can be had. */
import { isMoatError } from '@moat/core';
import { parseNetwork } from '../addresses.ts';
import { CONTRACT_LIMITS } from '../limits.ts';
import { ruleProblem } from '../publish-rules.ts';
import type { FieldPath } from './diagnostic.ts';
import type { DeploymentFile, FilePublish, FileService } from './file.ts';
import type { Findings } from './findings.ts';
import { checkEgress, checkMembers } from './member-references.ts';
import { checkSelectors, knownMembers, membersOf, unique, unknown } from './reference-findings.ts';

const MIN_MAX_STALE_MS = 3_600_000;

/** Adds what is wrong to `findings`; warnings too. */
export function checkReferences(file: DeploymentFile, findings: Findings): void {
  checkSizes(file, findings);
  checkOwners(file, findings);
  checkNetwork(file, findings);
  checkMembers(file, findings);
  checkServices(file, findings);
  checkAccess(file, findings);
  checkEgress(file, findings);
  checkPublish(file, findings);
}

function checkSizes(file: DeploymentFile, findings: Findings): void {
  const sizes = [
    ['owners', file.owners.keys?.length ?? 0, CONTRACT_LIMITS.owners],
    ['members', file.members.length, CONTRACT_LIMITS.members],
    ['services', file.services.length, CONTRACT_LIMITS.services],
    ['publish', file.publish.reduce((sum, { gateways }) => sum + gateways.length, 0), CONTRACT_LIMITS.publications],
  ] as const;
  for (const [section, count, most] of sizes) {
    if (count > most)
      findings.add([section], { code: 'FILE_INVALID', message: `has ${count} entries; at most ${most}` }, 'key');
  }
}

function checkOwners({ owners }: DeploymentFile, findings: Findings): void {
  const { keys, threshold } = owners;
  if (keys === undefined) return;
  unique(
    keys.map(({ key }) => key),
    (i) => ['owners', 'keys', keys[i]?.name ?? ''],
    'another owner has this key',
    findings,
  );
  if (keys.length === 0) {
    findings.add(['owners', 'keys'], { code: 'OWNERS_UNREACHABLE', message: 'names no owner' });
  } else if (threshold === undefined && keys.length > 1) {
    const hint = `1 = each owner alone, ${keys.length} = all together`;
    findings.add(['owners'], { code: 'FILE_INVALID', message: 'several owners need a threshold', hint }, 'key');
  } else if (threshold !== undefined) {
    const weight = keys.reduce((sum, key) => sum + key.weight, 0);
    if (weight >= threshold) return;
    const message = `cannot be reached: all owners together weigh ${weight}`;
    findings.add(['owners', 'threshold'], { code: 'OWNERS_UNREACHABLE', message });
  }
}

function checkNetwork({ network, anchors }: DeploymentFile, findings: Findings): void {
  if (network.maxStale !== undefined && network.maxStale < MIN_MAX_STALE_MS) {
    const message = 'is below 1h: a short outage of the keepers would stop the network';
    findings.add(['network', 'maxStale'], { code: 'FILE_INVALID', message });
  }
  unique(anchors, (i) => ['anchors', i], 'is listed twice', findings);
  if (network.ipv4 === undefined) return;
  try {
    parseNetwork(network.ipv4);
  } catch (error) {
    if (!isMoatError(error)) throw error;
    findings.add(['network', 'ipv4'], { code: 'ADDRESS_INVALID', message: error.message });
  }
}

function checkServices(file: DeploymentFile, findings: Findings): void {
  const takenBy = new Map<string, string>();
  const members = knownMembers(file);
  const devices = new Set(file.members.flatMap(({ name, via }) => (via === undefined ? [] : name)));
  for (const { name, on, port, protocol, health, proxyProtocol } of file.services) {
    checkSelectors(on, (i) => ['services', name, 'on', i], members, findings);
    for (const device of membersOf(file, on).filter((each) => devices.has(each))) {
      const message = `${device} is a device: it offers no service`;
      findings.add(['services', name, 'on'], { code: 'FILE_INVALID', message });
    }
    if (health !== undefined && protocol !== 'http') {
      const hint = 'add protocol: http';
      findings.add(['services', name, 'health'], {
        code: 'FILE_INVALID',
        message: 'only an http service has one',
        hint,
      });
    }
    if (proxyProtocol !== undefined && (protocol === 'grpc' || protocol === 'udp')) {
      const message =
        protocol === 'udp' ? 'datagrams have no connections' : 'clients of a grpc service share connections';
      findings.add(['services', name, 'proxyProtocol'], { code: 'FILE_INVALID', message, hint: 'leave it out' });
    }
    for (const member of membersOf(file, on)) {
      const address = `${member}:${port}${protocol === 'udp' ? '/udp' : ''}`;
      const other = takenBy.get(address);
      if (other === undefined) takenBy.set(address, name);
      else {
        const message = `${other} has port ${port} on ${member} already`;
        findings.add(['services', name, 'port'], { code: 'DUPLICATE', message });
        break;
      }
    }
  }
}

function checkAccess(file: DeploymentFile, findings: Findings): void {
  const services = file.services.map(({ name }) => name);
  const known = new Set(services);
  const members = knownMembers(file);
  for (const [i, { from, to }] of file.access.entries()) {
    checkSelectors(from, (k) => ['access', i, 'from', k], members, findings);
    const at = (k: number): FieldPath => ['access', i, 'to', k];
    unique(to, at, 'is listed twice', findings);
    for (const [k, service] of to.entries()) {
      if (!known.has(service)) unknown(at(k), `there is no service ${service}`, service, services, findings);
    }
  }
}

function checkPublish(file: DeploymentFile, findings: Findings): void {
  const protocols = new Map(file.services.map(({ name, protocol }) => [name, protocol]));
  const services = new Map(file.services.map((service) => [service.name, service]));
  const members = knownMembers(file);
  for (const line of file.publish) {
    const path = ['publish', line.name];
    const protocol = protocols.get(line.service);
    if (protocol === 'udp') {
      const message = 'is a udp service: a gateway carries no datagrams';
      findings.add([...path, 'service'], { code: 'FILE_INVALID', message });
    }
    if (protocol === undefined) {
      unknown([...path, 'service'], `there is no service ${line.service}`, line.service, protocols.keys(), findings);
    }
    if (line.port !== undefined && (line.tls !== 'passthrough' || !['tcp', 'udp', undefined].includes(protocol))) {
      const message = 'a port of its own carries the bytes of a tcp service, which nobody at the gateway reads';
      const hint = line.tls === 'passthrough' ? "make the service's protocol tcp" : 'leave tls out';
      findings.add([...path, 'port'], { code: 'FILE_INVALID', message, hint });
    }
    const problem = ruleProblem(line.rules, { ...line, services, service: { protocol: protocol ?? 'http' } });
    if (problem !== undefined) {
      const code = problem.kind === 'unknown' ? 'REFERENCE_UNKNOWN' : 'FILE_INVALID';
      const field = problem.rule === 'maxBodyBytes' ? 'maxBody' : problem.rule;
      findings.add([...path, field], { code, message: problem.message }, 'key');
    }
    checkAuth(line, path, protocol, findings);
    const named = (line.auth?.keys ?? []).filter((key) => !/^(?:ed25519:.*|owners|members)$/.test(key));
    checkSelectors(named, () => [...path, 'auth', 'keys'], members, findings);
    checkGateways(line, path, findings);
  }
  checkPorts(file, findings);
}

/** Ways in of which only the gateway sees the proof. */
const UNENFORCEABLE = [
  ['oidc', 'a member sees nothing of what the provider told the gateway'],
  ['mtls', 'a member sees nothing of the handshake in which the certificate is shown'],
] as const;

function checkAuth(
  { auth, tls, gateways }: FilePublish,
  path: FieldPath,
  protocol: FileService['protocol'] | undefined,
  findings: Findings,
): void {
  if (auth === undefined) return;
  const wrong = (message: string, hint: string): void =>
    findings.add([...path, 'auth'], { code: 'FILE_INVALID', message, hint }, 'key');
  if (tls === 'passthrough') wrong('the gateway cannot ask who comes in: it does not see inside TLS', 'leave tls out');
  else if (protocol === 'tcp') wrong('only an http service can have it', 'add protocol: http to the service');
  for (const [way, why] of auth.enforce === undefined ? [] : UNENFORCEABLE) {
    if (auth[way] === undefined) continue;
    const message = `with enforce: member the members check who comes in, and ${why}`;
    const hint = 'leave enforce out, or use basic and keys';
    findings.add([...path, 'auth', way], { code: 'AUTH_UNENFORCEABLE', message, hint }, 'key');
  }
  const isBoxed = auth.enforce === undefined && (auth.basic ?? auth.oidc) !== undefined;
  for (const [i, gateway] of gateways.entries()) {
    if (!isBoxed || typeof gateway === 'string' || gateway.box !== undefined) continue;
    const message = 'this pin has no box key: its users cannot be sent to it unread';
    findings.add([...path, 'gateway', i], { code: 'GATEWAY_BOX_MISSING', message, hint: 'add box: x25519:…' });
  }
}

function checkGateways(line: FilePublish, path: FieldPath, findings: Findings): void {
  const domains = line.gateways.map((gateway) => (typeof gateway === 'string' ? gateway : gateway.domain));
  unique(domains, (i) => [...path, 'gateway', i], 'this name is published there already', findings);
  for (const domain of new Set(domains)) {
    if (!line.name.endsWith(`.${domain}`)) continue;
    const label = line.name.slice(0, -domain.length - 1);
    const hint = label.includes('.') ? 'a name at a gateway is one label' : `write ${label}`;
    findings.add(path, { code: 'FILE_INVALID', message: `names below ${domain} are written without it`, hint }, 'key');
  }
}

/** A port of a gateway carries one line's bytes. */
function checkPorts({ publish }: DeploymentFile, findings: Findings): void {
  const takenBy = new Map<string, string>();
  for (const { name, port, gateways } of publish) {
    if (port === undefined) continue;
    for (const gateway of gateways) {
      const place = `${port} ${typeof gateway === 'string' ? gateway : gateway.domain}`;
      const other = takenBy.get(place);
      if (other === undefined) takenBy.set(place, name);
      else
        findings.add(['publish', name, 'port'], { code: 'DUPLICATE', message: `${other} has this port there already` });
    }
  }
}
