#!/usr/bin/env node
/** The gateway process: configuration in, one log line when it is ready, exit codes out. */
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { errorCode, isMoatError, releaseStartupMemory, systemClock, type Logger } from '@moat/core';
import { parseGatewayConfig, type GatewayConfig } from './config.ts';
import type { GatewayAddresses } from './addresses.ts';
import { createGateway } from './create-gateway.ts';
import { refusal } from './errors.ts';
import { AccessLog } from './access-log.ts';
import { createLogger } from './logger.ts';
import { countWorkers } from './workers/shares.ts';

export interface RunGatewayOptions {
  /** First abort: orderly. The gateway stops taking requests, lets the running ones end, then closes. */
  readonly signal: AbortSignal;
  /** Now, whatever runs. */
  readonly kill?: AbortSignal;
  readonly logger?: Logger;
  /** Reads gateway.yaml anew. @throws `GATEWAY_CONFIG_INVALID` */
  readonly readConfig?: () => Promise<GatewayConfig>;
  /** Calls back whenever somebody asks for that, by SIGHUP; returns the way to stop. */
  readonly onReloadAsked?: (reload: () => Promise<void>) => () => void;
  /** Opened anew when gateway.yaml is read anew. */
  readonly access?: AccessLog;
  /** Level of the logs that workers write themselves. @defaultValue info */
  readonly logLevel?: string;
  /** Called once everything listens. */
  readonly onReady?: (addresses: GatewayAddresses) => void;
}

/** Time for running requests to end after an orderly stop that says nothing of its own. */
const DRAIN_MS = 10_000;

/** What a gateway's process says, and where the lines of requests go. */
export interface GatewayLog {
  readonly logger: Logger;
  readonly access: AccessLog;
}

/**
 * The log of a gateway's first process; with workers it shares its place with theirs. To be called once a process.
 * @throws `GATEWAY_CONFIG_INVALID` where the access log cannot be opened
 */
export function createGatewayLog({ workers, accessLog }: GatewayConfig, level: string): GatewayLog {
  const access = new AccessLog(accessLog);
  return { access, logger: createLogger(level, { shared: countWorkers(workers) > 1, access }) };
}

/** Runs a gateway until it is told to stop; begins again where it asks for that. @throws the codes of its start */
export async function runGateway(config: GatewayConfig, options: RunGatewayOptions): Promise<void> {
  while ((await runOnce(config, options)) === 'again');
}

async function runOnce(config: GatewayConfig, options: RunGatewayOptions): Promise<'stopped' | 'again'> {
  const logger = options.logger ?? createLogger('info');
  const asked = new AbortController();
  let outcome: 'stopped' | 'again' = 'stopped';
  let drainMs = DRAIN_MS;
  const onRestartAsked = (): void => {
    outcome = 'again';
    asked.abort();
  };
  const signal = AbortSignal.any([options.signal, asked.signal]);
  await using gateway = createGateway(
    {
      clock: systemClock,
      logger,
      ...(options.logLevel === undefined ? {} : { logLevel: options.logLevel }),
      ...(options.readConfig === undefined ? {} : { readConfig: options.readConfig }),
      access: options.access,
      onStopAsked: (ms = DRAIN_MS) => {
        if (asked.signal.aborted) void gateway.drain(ms);
        else drainMs = ms;
        asked.abort();
      },
      onRestartAsked,
    },
    config,
  );
  await gateway.start({ signal });
  // What was wrong is in the log.
  using asking = new DisposableStack();
  const reload = async (): Promise<void> => void (await gateway.reload().catch(() => undefined));
  asking.defer(options.onReloadAsked?.(reload) ?? (() => undefined));
  const { addresses } = gateway;
  releaseStartupMemory();
  logger.info({ component: 'gateway', host: addresses.domain, addresses: addresses.peers }, 'gateway ready');
  options.onReady?.(addresses);
  await aborted(signal);
  logger.info({ component: 'gateway' }, 'gateway stopping');
  // Who sends a signal meanwhile is in more of a hurry.
  const hurry = (): void => void gateway.drain(DRAIN_MS);
  options.signal.addEventListener('abort', hurry, { once: true });
  asking.defer(() => options.signal.removeEventListener('abort', hurry));
  await Promise.race([gateway.drain(drainMs), ...(options.kill ? [aborted(options.kill)] : [])]);
  return options.signal.aborted ? 'stopped' : outcome;
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

async function readConfig(path: string): Promise<GatewayConfig> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    throw refusal('GATEWAY_CONFIG_INVALID', `cannot read ${path} (${errorCode(cause)})`, { cause });
  }
  return parseGatewayConfig(text, path, process.env);
}

/** Calls back on SIGHUP, which would end the process otherwise; returns the way to stop. */
export function onHangup(listener: () => void): () => void {
  process.on('SIGHUP', listener);
  return () => void process.off('SIGHUP', listener);
}

/** Exit statuses, the command's too. */
function exitCodeOf(error: unknown): number {
  const code = errorCode(error);
  if (code === 'GATEWAY_CONFIG_INVALID' || code === 'CERTIFICATE_INVALID' || code.startsWith('KEY_FILE_')) return 3;
  if (code.startsWith('ERR_PARSE_ARGS')) return 2;
  if (code === 'STATE_LOCKED') return 6;
  return 1;
}

async function main(): Promise<void> {
  const orderly = new AbortController();
  const now = new AbortController();
  let interrupted: number | undefined;
  for (const [name, status] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const) {
    process.on(name, () => {
      if (orderly.signal.aborted) now.abort();
      interrupted ??= status;
      orderly.abort();
    });
  }
  try {
    const { values } = parseArgs({
      options: { config: { type: 'string', short: 'c', default: 'gateway.yaml' }, 'log-level': { type: 'string' } },
    });
    const logLevel = values['log-level'] ?? process.env['MOAT_LOG_LEVEL'] ?? 'info';
    const config = await readConfig(values.config);
    await runGateway(config, {
      signal: orderly.signal,
      kill: now.signal,
      ...createGatewayLog(config, logLevel),
      readConfig: () => readConfig(values.config),
      onReloadAsked: (reload) => onHangup(() => void reload()),
      logLevel,
      onReady: (addresses) =>
        process.stdout.write(`${JSON.stringify({ kind: 'gateway-ready', version: 1, data: addresses })}\n`),
    });
    process.exitCode = 0;
  } catch (error) {
    const lines = isMoatError(error) ? [`✗ ${error.message}`, `  Code   ${error.code}`] : [`✗ ${String(error)}`];
    process.stderr.write(`${lines.join('\n')}\n`);
    process.exitCode = interrupted ?? exitCodeOf(error);
  }
  // Whatever a library left open must not keep a stopped gateway.
  setTimeout(() => process.exit(), 1_000).unref();
}

if (import.meta.main) await main();
