/** What can be wrong between this machine and the others. */
import type { DeploymentDetail } from '@moat/admin-api';
import { parseContract } from '@moat/contract';
import { isMoatError } from '@moat/core';
import { request } from 'node:https';
import { connect } from 'node:net';
import type { Context } from '../context.ts';
import { attention, ok, problem, type Finding } from './check.ts';
import { checkPorts } from './machine-checks.ts';

const TIMEOUT_MS = 3000;
/** Tolerated by every check of time in Moat. */
const MAX_CLOCK_SKEW_MS = 5 * 60_000;

/** The agent, then each network it is in. */
export async function checkNetworks(context: Context): Promise<readonly Finding[]> {
  const { agent } = context;
  try {
    const status = await agent.status({ timeoutMs: TIMEOUT_MS });
    const details = await Promise.all(status.deployments.map(({ id }) => agent.deployment(id)));
    return [
      ok('agent', `running, pid ${status.pid}`),
      ...status.warnings.map((warning) => attention('agent', warning.message)),
      ...(await Promise.all(details.map((detail) => checkNetwork(context, detail)))).flat(),
    ];
  } catch (error) {
    if (!isMoatError(error)) throw error;
    return [problem('agent', error.message, error.next[0] ?? 'moat node run'), ...(await checkPorts())];
  }
}

async function checkNetwork(context: Context, detail: DeploymentDetail): Promise<readonly Finding[]> {
  const contract = parseContract(detail.contract);
  const gateways = [...new Map(contract.publish.map(({ gateway }) => [gateway.domain, gateway])).values()];
  const reach = await Promise.all([
    ...contract.anchors.map((address) => checkReachable(`anchor of ${detail.name}`, address)),
    ...gateways.flatMap(({ domain, peers }) => peers.map((address) => checkReachable(`gateway ${domain}`, address))),
    ...gateways.filter(({ domain }) => domain !== 'localhost').map(({ domain }) => checkClock(context, domain)),
  ]);
  return [
    ...detail.alarms.map((alarm) => problem(detail.name, alarm.message, 'moat status -d')),
    ...checkPlaces(detail),
    ...checkServices(detail),
    ...checkNames(detail),
    ...reach,
  ];
}

function checkPlaces(detail: DeploymentDetail): Finding[] {
  const others = detail.places.filter(({ self, peer }) => !self && peer !== null);
  const away = others.filter(({ connected }) => !connected).map(({ name }) => name);
  const relayed = others.filter(({ path }) => path === 'relayed').map(({ name }) => name);
  const keepers = detail.places.filter(({ keeper, state }) => keeper && state === 'pinned');
  return [
    away.length === 0
      ? ok(detail.name, `${others.length} other members, all connected`)
      : attention(detail.name, `not connected: ${away.join(', ')}`, 'see whether their agents run and reach an anchor'),
    ...(relayed.length === 0
      ? []
      : [attention(detail.name, `relayed: ${relayed.join(', ')}`, `moat explain says why`)]),
    ...(keepers.length >= 2
      ? []
      : [
          attention(
            detail.name,
            `${keepers.length} pinned keeper: while it is off nobody can join`,
            'mark a second member keeper: true',
          ),
        ]),
  ];
}

function checkServices(detail: DeploymentDetail): Finding[] {
  return detail.services.flatMap((service): Finding[] => {
    if (service.exposed === false) {
      return [
        problem(
          `service ${service.name}`,
          'this machine offers it and has not exposed it',
          `moat node expose ${service.target} --to ${detail.name}`,
        ),
      ];
    }
    if (service.instances > 0 && service.healthy === 0) {
      return [attention(`service ${service.name}`, 'no instance is healthy', 'start it on its machine')];
    }
    return [];
  });
}

function checkNames(detail: DeploymentDetail): Finding[] {
  return detail.publications.flatMap((publication): Finding[] => {
    if (publication.state === 'live') return [ok(`name ${publication.name}`, publication.url ?? 'live')];
    if (publication.state === 'waiting' || publication.error === null) return [];
    return [
      problem(
        `name ${publication.name}`,
        publication.error.message,
        `docs/errors.md#${publication.error.code.toLowerCase()}`,
      ),
    ];
  });
}

/** Opens a TCP connection to where a multiaddr leads. */
async function checkReachable(name: string, address: string): Promise<Finding> {
  const match = /^\/(?:ip4|ip6|dns4?|dns6)\/([^/]+)\/tcp\/(\d+)/.exec(address);
  if (match === null) return attention(name, `${address} is no TCP address`);
  const [, host = '', port] = match;
  const reached = await new Promise<boolean>((resolve) => {
    const socket = connect({ host, port: Number(port), timeout: TIMEOUT_MS });
    const end = (result: boolean): void => {
      socket.destroy();
      resolve(result);
    };
    socket
      .once('connect', () => end(true))
      .once('timeout', () => end(false))
      .once('error', () => end(false));
  });
  if (reached) return ok(name, `${host}:${port} answers`);
  return problem(
    name,
    `${host}:${port} cannot be reached from here`,
    'check the network, its firewall, and whether it runs',
  );
}

/** Compares our clock with the Date of an https answer. */
async function checkClock({ io }: Context, domain: string): Promise<Finding> {
  const date = await new Promise<string | undefined>((resolve) => {
    const sent = request(
      { host: domain, path: '/.well-known/moat', method: 'HEAD', signal: AbortSignal.timeout(TIMEOUT_MS) },
      (response) => {
        response.resume();
        resolve(response.headers.date);
      },
    );
    sent.once('error', () => resolve(undefined));
    sent.end();
  });
  if (date === undefined) return attention('clock', `could not be compared: ${domain} does not answer`);
  const skewMs = io.now() - Date.parse(date);
  const text = `${Math.round(Math.abs(skewMs) / 1000)} s ${skewMs < 0 ? 'behind' : 'ahead of'} ${domain}`;
  return Math.abs(skewMs) > MAX_CLOCK_SKEW_MS
    ? problem('clock', text, 'set the clock, for instance by NTP')
    : ok('clock', text);
}
