/** The agent as a whole, as the local API shows it. */
import type { Clock, PeerId } from '@moat/core';
import type { NodeStatus, Notice } from '@moat/admin-api';
import type { LinkService } from '@moat/link';
import type { Overlay } from '@moat/overlay';
import type { NodeConfig } from '../config.ts';
import type { Deployments } from '../deployments/deployments.ts';
import type { Doors } from '../doors.ts';
import type { KeyRotation } from '../key-rotation.ts';
import { interfaceNotices } from '../wireguard/notices.ts';
import type { Wireguard } from '../wireguard/wireguard.ts';
import { summaryOf, timeText } from './report.ts';

const VERSION = '0.1.0';

export interface StatusDeps {
  readonly self: PeerId;
  readonly config: NodeConfig;
  readonly overlay: Pick<Overlay, 'addresses' | 'connections'>;
  readonly links: Pick<LinkService, 'list' | 'port'>;
  readonly deployments: Deployments;
  readonly doors: Doors;
  readonly rotation: Pick<KeyRotation, 'notices'>;
  readonly wireguard: Pick<Wireguard, 'get'>;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly now: Pick<Clock, 'now'>;
}

export function statusOf(deps: StatusDeps): NodeStatus {
  const { self, config, overlay, links, deployments, startedAt } = deps;
  return {
    peerId: self,
    pid: process.pid,
    agentVersion: VERSION,
    startedAt: timeText(startedAt),
    uptimeMs: Math.max(0, deps.now.now() - startedAt),
    stateDir: config.stateDir,
    addresses: overlay.addresses(),
    linkPort: links.port ?? null,
    socks: deps.doors.proxy(),
    proxyPasswordFile: deps.doors.proxyPasswordFile,
    dns: deps.doors.dns(),
    access: config.access,
    anchor: config.anchor,
    mdns: config.mdns,
    connections: overlay.connections().length,
    rssBytes: process.memoryUsage.rss(),
    links: links
      .list()
      .map(({ peer, path, rttMs, openStreams }) => ({ peer, path, rttMs: rttMs ?? null, openStreams })),
    deployments: deployments.list().map((each) => summaryOf(each, deps.now.now())),
    warnings: [
      ...warningsOf(config),
      ...deps.rotation.notices,
      ...interfaceNotices(deps.deployments.list(), deps.wireguard),
    ],
  };
}

function warningsOf(config: NodeConfig): Notice[] {
  if (config.access === 'private') return [];
  return [
    {
      code: 'LOOPBACK_SHARED',
      message:
        'every user of this machine reaches the granted services: the member is the machine; access: private closes that',
    },
  ];
}
