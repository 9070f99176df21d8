/**
 * What somebody who helps needs to know, in one file without secrets: versions, what `moat doctor` found, status of agent and gateway,
 * configuration, the last lines of the logs, addresses and name servers. Addresses and names of networks are in it.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { Resolver } from 'node:dns/promises';
import { availableParallelism, freemem, loadavg, networkInterfaces, release, totalmem, uptime } from 'node:os';
import { dirname, join } from 'node:path';
import { errorCode, isMoatError } from '@moat/core';
import type { Context } from '../context.ts';
import { resolvePath } from '../input/files.ts';
import { userSettingsFile } from '../input/settings.ts';
import { SERVICES, unitName } from '../service/unit.ts';
import type { Finding } from './check.ts';
import { scrub, secretsIn } from './scrub.ts';

/** Of each log, the end. */
const MAX_LOG_BYTES = 256 * 1024;
const LOG_LINES = 1_000;
const JOURNAL_MS = 10_000;
/** Variables whose values say where things are; of all others only the name is told. */
const PLAIN_VARIABLES = new Set(['MOAT_HOME', 'MOAT_LOG_LEVEL', 'MOAT_GATEWAY', 'MOAT_GATEWAY_CONFIG', 'MOAT_CA_FILE']);

export interface BundleOptions {
  readonly version: string;
  /** gateway.yaml, where the gateway of this machine is configured. */
  readonly gatewayConfig: string;
}

/** Text of the bundle, JSON. */
export async function renderBundle(
  context: Context,
  findings: readonly Finding[],
  options: BundleOptions,
): Promise<string> {
  const { agent, gateway, io, paths } = context;
  const bundle = {
    kind: 'moat-bundle',
    version: 1,
    created: new Date(io.now()).toISOString(),
    software: { moat: options.version, node: process.versions.node, openssl: process.versions.openssl },
    machine: machineFacts(),
    findings,
    agent: {
      status: await answerOf(agent.status()),
      deployments: await answerOf(agent.deployments()),
      publications: await answerOf(agent.publications()),
      exposed: await answerOf(agent.exposed()),
    },
    gateway: {
      status: await answerOf(gateway.status()),
      names: await answerOf(gateway.names()),
      publishers: await answerOf(gateway.publishers()),
      audit: await answerOf(gateway.audit({ after: 0, sinceMs: io.now() - 24 * 3_600_000 })),
    },
    network: networkFacts(),
    environment: environmentOf(io.env),
    configuration: configurationOf(context, options.gatewayConfig),
    logs: { ...journals(), ...devLogs(join(paths.dev, 'logs')) },
  };
  const directories = [paths.home, dirname(paths.ownerKey), paths.gatewayHome, paths.dev];
  return `${scrub(JSON.stringify(bundle, undefined, 2), secretsIn(directories))}\n`;
}

/** A part that does not answer is a finding, not a failure. */
async function answerOf(answer: Promise<unknown>): Promise<unknown> {
  try {
    return await answer;
  } catch (error) {
    return { error: isMoatError(error) ? error.toBody() : { code: errorCode(error) } };
  }
}

function machineFacts(): object {
  const { platform, arch } = process;
  const mib = (bytes: number): number => Math.round(bytes / 1024 / 1024);
  return {
    platform,
    arch,
    release: release(),
    cores: availableParallelism(),
    memoryMiB: mib(totalmem()),
    freeMiB: mib(freemem()),
    load: loadavg(),
    uptimeSeconds: Math.round(uptime()),
  };
}

function networkFacts(): object {
  const interfaces = Object.entries(networkInterfaces()).map(([name, addresses = []]) => ({
    name,
    addresses: addresses.map(({ cidr }) => cidr),
  }));
  return { interfaces, nameServers: new Resolver().getServers() };
}

function environmentOf(env: Context['io']['env']): Record<string, string> {
  const ours = Object.entries(env).filter(([name, value]) => name.startsWith('MOAT_') && value !== undefined);
  return Object.fromEntries(ours.map(([name, value = '']) => [name, PLAIN_VARIABLES.has(name) ? value : '[set]']));
}

function configurationOf({ io }: Context, gatewayConfig: string): Record<string, string> {
  const user = userSettingsFile(io.env);
  const files = [
    '/etc/moat/config.yaml',
    '/etc/moat/node.yaml',
    '/etc/moat/gateway.yaml',
    user,
    join(dirname(user), 'node.yaml'),
    resolvePath(io, gatewayConfig),
  ];
  const found = [...new Set(files)].flatMap((file) => {
    const text = endOf(file);
    return text === undefined ? [] : [[file, text] as const];
  });
  return Object.fromEntries(found);
}

/** What the services said, where systemd keeps it. */
function journals(): Record<string, string> {
  const found = SERVICES.flatMap((service) => {
    const unit = unitName(service);
    const args = ['--unit', unit, '--lines', String(LOG_LINES), '--output', 'cat', '--no-pager', '--quiet'];
    const { status, stdout } = spawnSync('journalctl', args, { encoding: 'utf8', timeout: JOURNAL_MS });
    return status === 0 && stdout !== '' ? [[unit, stdout.slice(-MAX_LOG_BYTES)] as const] : [];
  });
  return Object.fromEntries(found);
}

function devLogs(directory: string): Record<string, string> {
  try {
    const names = readdirSync(directory).filter((name) => name.endsWith('.log'));
    return Object.fromEntries(names.map((name) => [`moat dev: ${name}`, endOf(join(directory, name)) ?? '']));
  } catch {
    return {};
  }
}

function endOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').slice(-MAX_LOG_BYTES);
  } catch {
    return undefined;
  }
}
