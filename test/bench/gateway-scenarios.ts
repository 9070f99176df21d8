/**
 * Gateways alone, with the service on the same machine: requests, WebSocket messages, TLS handshakes. Every subject has
 * one worker, and `…PerCore` is how many it does for each second of CPU time it uses: on a machine where client, proxy and
 * service share the cores that says more than what came through.
 */
import { handshakeLoad } from './handshake-load.ts';
import { httpLoad } from './h2load.ts';
import type { Scenario } from './scenario.ts';
import { targetOf, type Subject } from './subject.ts';
import { BODY_BYTES } from './subjects/e2e-site.ts';
import { localMoat, localMoatWithNode } from './subjects/local-moat.ts';
import {
  localCaddy,
  localHaproxy,
  localHttpProxy,
  localHttpProxy3,
  localNginx,
  localReplyFrom,
} from './subjects/local-proxies.ts';
import { ECHO_PATH } from './subjects/local-site.ts';
import { webSocketLoad } from './websocket-load.ts';

const CONNECTIONS = { '1k': [1, 64, 512], '64k': [1, 64, 512], '1m': [1, 8, 64] } as const;
const QUICK = new Set(['1k/c64', '1m/c8']);
const SIZES = ['1k', '64k', '1m'] as const;
/** Handshakes at once: enough to keep one worker busy. */
const HANDSHAKES = 16;
const WEBSOCKETS = 64;
/** As h2load is run everywhere: 128 requests at once. */
const HTTP2_CONNECTIONS = 8;
const HTTP2_STREAMS = 16;

export const gatewaySubjects: readonly Subject[] = [
  localMoat,
  localMoatWithNode,
  localNginx,
  localHaproxy,
  localCaddy,
  localHttpProxy,
  localHttpProxy3,
  localReplyFrom,
];

/** Those that speak HTTP/2 to clients. */
const http2Subjects: readonly Subject[] = [localMoat, localMoatWithNode, localNginx, localHaproxy, localCaddy];

const requests: readonly Scenario[] = SIZES.flatMap((size) =>
  CONNECTIONS[size].map((connections): Scenario => ({
    name: `gateway/https1/${size}/c${connections}`,
    subjects: gatewaySubjects,
    quick: QUICK.has(`${size}/c${connections}`),
    async measure(running, options) {
      const load = {
        target: targetOf(running, 'https'),
        scheme: 'https',
        path: `/${size}`,
        bodyBytes: BODY_BYTES[size],
        connections,
        pids: running.pids(),
      } as const;
      const values = await httpLoad(load, options);
      return { ...values, rpsPerCore: 1e6 / (values['cpuUsPerRequest'] ?? Number.NaN) };
    },
  })),
);

const http2: Scenario = {
  name: `gateway/h2/1k/c${HTTP2_CONNECTIONS}`,
  subjects: http2Subjects,
  quick: true,
  async measure(running, options) {
    const load = {
      target: targetOf(running, 'https'),
      scheme: 'https',
      version: 'h2',
      path: '/1k',
      bodyBytes: BODY_BYTES['1k'],
      connections: HTTP2_CONNECTIONS,
      streams: HTTP2_STREAMS,
      pids: running.pids(),
    } as const;
    const values = await httpLoad(load, options);
    return { ...values, rpsPerCore: 1e6 / (values['cpuUsPerRequest'] ?? Number.NaN) };
  },
};

const webSockets: Scenario = {
  name: `gateway/ws/1k/c${WEBSOCKETS}`,
  // @fastify/reply-from carries none.
  subjects: gatewaySubjects.filter((subject) => subject !== localReplyFrom),
  quick: true,
  measure: (running, options) =>
    webSocketLoad(
      {
        target: targetOf(running, 'https'),
        path: ECHO_PATH,
        messageBytes: BODY_BYTES['1k'],
        connections: WEBSOCKETS,
        pids: running.pids(),
      },
      options,
    ),
};

const handshakes: Scenario = {
  name: `gateway/https1/handshake/c${HANDSHAKES}`,
  subjects: gatewaySubjects,
  quick: true,
  measure: (running, options) =>
    handshakeLoad({ target: targetOf(running, 'https'), atOnce: HANDSHAKES, pids: running.pids() }, options),
};

export const gatewayScenarios: readonly Scenario[] = [...requests, http2, webSockets, handshakes];
