/** The example's deployment file with what only this machine knows: its ports, its first machine, its gateway. */
import { parseDeploymentFile, type DeploymentFile, type GatewayPin } from '@moat/contract';
import { MoatError, type PeerId } from '@moat/core';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Ports } from './ports.ts';

export const WEB_MEMBER = 'web-1';
export const DB_MEMBER = 'db-1';

/** The file as it is. @throws `FILE_INVALID` when somebody changed the example. */
export function readGuestbookFile(example: string): DeploymentFile {
  const path = join(example, 'moat.yaml');
  const { file, diagnostics } = parseDeploymentFile(readFileSync(path, 'utf8'), path);
  if (file !== undefined) return file;
  throw new MoatError('FILE_INVALID', `${path}: ${diagnostics[0]?.message ?? 'invalid'}`);
}

/** Where a service of the example listens on this machine. */
export function targetOf(service: 'web' | 'db', ports: Ports): string {
  return `127.0.0.1:${service === 'web' ? ports.webService : ports.dbService}`;
}

export function placeGuestbook(
  file: DeploymentFile,
  here: { readonly webPeer: PeerId; readonly gateway: GatewayPin; readonly ports: Ports },
): DeploymentFile {
  return {
    ...file,
    members: file.members.map((member) => (member.name === WEB_MEMBER ? { ...member, node: here.webPeer } : member)),
    services: file.services.map((service) =>
      service.name === 'web' || service.name === 'db'
        ? { ...service, target: targetOf(service.name, here.ports) }
        : service,
    ),
    publish: file.publish.map((line) => ({ ...line, gateways: [here.gateway] })),
  };
}
