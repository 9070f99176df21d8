/** gateway.yaml of `moat dev`: `*.localhost`, a local authority, only the guestbook may publish. */
import type { DeploymentId } from '@moat/core';
import { writeFileSync } from 'node:fs';
import type { DevLayout } from './layout.ts';
import type { Ports } from './ports.ts';

export const DEV_DOMAIN = 'localhost';

export function writeGatewayFile(layout: DevLayout, ports: Ports, deployment: DeploymentId): void {
  const text = `# written by moat dev
version: 1
domain: ${DEV_DOMAIN}
publishers: { allow: [${deployment}] }
tls: local
anchor: false
listen:
  https: 127.0.0.1:${ports.https}
  http: 127.0.0.1:${ports.http}
  overlay: [/ip4/127.0.0.1/tcp/${ports.gatewayOverlay}]
  link: 127.0.0.1:${ports.gatewayLink}
`;
  writeFileSync(layout.gatewayConfig, text, { mode: 0o600 });
}
