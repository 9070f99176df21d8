/** From a client's https request to a service on another machine and back. */
import { httpLoad } from './h2load.ts';
import type { Scenario } from './scenario.ts';
import { targetOf, type Subject } from './subject.ts';
import { BODY_BYTES } from './subjects/e2e-site.ts';
import { moat, moatPrivate, moatRelay } from './subjects/moat.ts';
import { nginxNebula } from './subjects/nebula.ts';
import { nginxNoTunnel } from './subjects/no-tunnel.ts';
import { nginxSsh } from './subjects/ssh.ts';
import { nginxTinc } from './subjects/tinc.ts';
import { caddyWireguard, nginxWireguard } from './subjects/wireguard.ts';
import { nginxYggdrasil } from './subjects/yggdrasil.ts';

/** 512 bodies of 1 MiB at once would end outside of the window of the slower tunnels: none would be counted. */
/** Clients of HTTP/2, each with as many requests at once. */
const HTTP2_CONNECTIONS = 64;
const HTTP2_STREAMS = 16;
const CONNECTIONS = { '0.9k': [64], '1k': [1, 64, 512], '64k': [1, 64, 512], '1m': [1, 8, 64] } as const;
const QUICK = new Set(['1k/c1', '1k/c64', '1m/c8']);
const SIZES = ['0.9k', '1k', '64k', '1m'] as const;

/** Scenarios that name this array share one start of them all. */
export const e2eSubjects: readonly Subject[] = [
  moat,
  nginxNoTunnel,
  nginxNebula,
  nginxWireguard,
  caddyWireguard,
  nginxTinc,
  nginxYggdrasil,
  nginxSsh,
  moatRelay,
  moatPrivate,
];

const http1Scenarios: readonly Scenario[] = SIZES.flatMap((size) =>
  CONNECTIONS[size].map((connections): Scenario => ({
    name: `e2e/https1/${size}/c${connections}`,
    subjects: e2eSubjects,
    quick: QUICK.has(`${size}/c${connections}`),
    measure: (running, options) =>
      httpLoad(
        {
          target: targetOf(running, 'https'),
          scheme: 'https',
          path: `/${size}`,
          bodyBytes: BODY_BYTES[size],
          connections,
          pids: running.pids(),
        },
        options,
      ),
  })),
);

const http2: Scenario = {
  name: `e2e/h2/1k/c${HTTP2_CONNECTIONS}`,
  subjects: [moat, nginxNoTunnel],
  quick: false,
  measure: (running, options) =>
    httpLoad(
      {
        target: targetOf(running, 'https'),
        scheme: 'https',
        version: 'h2',
        path: '/1k',
        bodyBytes: BODY_BYTES['1k'],
        connections: HTTP2_CONNECTIONS,
        streams: HTTP2_STREAMS,
        pids: running.pids(),
      },
      options,
    ),
};

export const e2eScenarios: readonly Scenario[] = [...http1Scenarios, http2];
