/** References of a deployment file's members, and to members that others are behind. */
import { isMoatError } from '@moat/core';
import { checkAddresses, parseNetwork } from '../addresses.ts';
import type { FieldPath } from './diagnostic.ts';
import type { DeploymentFile } from './file.ts';
import type { Findings } from './findings.ts';
import { checkSelectors, knownMembers, unique, unknown } from './reference-findings.ts';

/** Machines, addresses and devices. */
export function checkMembers(file: DeploymentFile, findings: Findings): void {
  const { members, network } = file;
  const at =
    (field: string) =>
    (i: number): FieldPath => ['members', members[i]?.name ?? '', field];
  unique(
    members.map(({ node }) => node),
    at('node'),
    'another member is this machine',
    findings,
  );
  unique(
    members.map(({ ipv4 }) => ipv4),
    at('ipv4'),
    'another member has this address',
    findings,
  );
  for (const [i, { name, tags, ipv4, via, node, keeper }] of members.entries()) {
    unique(tags, (k) => ['members', name, 'tags', k], 'is listed twice', findings);
    if (via !== undefined) {
      checkHub(via, at('via')(i), file, findings);
      if (node !== undefined) findings.add(at('node')(i), { code: 'FILE_INVALID', message: 'a device has no machine' });
      if (keeper) findings.add(at('keeper')(i), { code: 'FILE_INVALID', message: 'a device keeps nothing' });
    }
    const message = addressProblem(network.ipv4, name, ipv4);
    if (message !== undefined) findings.add(at('ipv4')(i), { code: 'ADDRESS_INVALID', message });
  }
  if (members.length === 0) {
    findings.add(['members'], { code: 'FILE_INVALID', message: 'names no member' }, 'key');
  } else if (!members.some(({ keeper }) => keeper)) {
    const message = 'no member is a keeper: nobody could let machines join or spread a new version';
    findings.add(
      ['members'],
      { code: 'KEEPER_MISSING', message, hint: 'add keeper: true to one that is always on' },
      'key',
    );
  }
}

/** Why an address does not fit a network that the file fixes; a bad network is reported where it stands. */
function addressProblem(network: string | undefined, name: string, ipv4: string | undefined): string | undefined {
  if (network === undefined || ipv4 === undefined) return undefined;
  try {
    parseNetwork(network);
  } catch {
    return undefined;
  }
  try {
    checkAddresses({ network: { ipv4: network, plane: 'auto' }, members: [{ name, ipv4, tags: [] }] });
    return undefined;
  } catch (error) {
    if (!isMoatError(error)) throw error;
    return error.message;
  }
}

/** Who leaves to the internet, and by whom. */
export function checkEgress(file: DeploymentFile, findings: Findings): void {
  const members = knownMembers(file);
  const behind = new Map(file.members.map(({ name, via }) => [name, via]));
  for (const [i, { from, via }] of file.egress.entries()) {
    checkSelectors(from, (k) => ['egress', i, 'from', k], members, findings);
    checkHub(via, ['egress', i, 'via'], file, findings);
    for (const [k, name] of from.entries()) {
      const hub = behind.get(name);
      if (hub === undefined || hub === via) continue;
      const message = `${name} is a device behind ${hub}, and leaves by it or not at all`;
      findings.add(['egress', i, 'from', k], { code: 'FILE_INVALID', message });
    }
  }
}

/** A member to whom others connect. */
function checkHub(via: string, at: FieldPath, { members }: DeploymentFile, findings: Findings): void {
  const hub = members.find(({ name }) => name === via);
  if (hub === undefined) {
    const names = members.map(({ name }) => name);
    unknown(at, `there is no member ${via}`, via, names, findings);
  } else if (hub.via !== undefined) {
    findings.add(at, { code: 'FILE_INVALID', message: `${via} is a device itself` });
  }
}
