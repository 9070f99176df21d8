/** The agent's process: configuration in, log on stderr, signals, exit codes. */
import { parseArgs } from 'node:util';
import { MoatError, isMoatError, releaseStartupMemory, type Logger } from '@moat/core';
import { pino } from 'pino';
import { loadNodeConfig, type NodeConfig, type NodeConfigInput } from './config.ts';
import { createNode } from './create-node.ts';

/** What a process gives a node to run with. */
export interface RunNodeOptions {
  /** Aborted = orderly stop. */
  readonly signal: AbortSignal;
  /** @defaultValue pino on stderr at the configured level */
  readonly logger?: Logger;
  /** Called once, when the agent serves. */
  readonly onReady?: (ready: NodeReady) => void;
}

/** The line `{"kind":"ready","version":1,"data":NodeReady}`. */
export interface NodeReady {
  readonly peerId: string;
  readonly pid: number;
  readonly socketPath: string;
  readonly addresses: readonly string[];
  readonly linkPort: number | null;
  readonly socks: { readonly host: string; readonly port: number } | null;
  /** Where the proxy's password is kept; null where it has none. */
  readonly proxyPasswordFile: string | null;
  readonly dns: { readonly host: string; readonly port: number } | null;
  readonly access: NodeConfig['access'];
}

/** Runs an agent until `signal` is aborted or its API is asked to stop. @throws the codes of starting */
export async function runNode(config: NodeConfig, options: RunNodeOptions): Promise<void> {
  const { signal } = options;
  const logger = options.logger ?? createLogger(config.logLevel);
  let { onReady } = options;
  for (let again = true; again;) {
    again = await runOnce(config, { logger, signal, ...(onReady === undefined ? {} : { onReady }) });
    onReady = undefined;
  }
}

/** True when the agent is to start again: it has another key. */
async function runOnce(config: NodeConfig, options: RunNodeOptions & { readonly logger: Logger }): Promise<boolean> {
  const { signal, logger } = options;
  const stopRequest = new AbortController();
  let again = false;
  const stop = (restart: boolean): void => {
    again = restart;
    setImmediate(() => stopRequest.abort());
  };
  const deps = { logger, onStopRequest: () => stop(false), onRestartRequest: () => stop(true) };
  const node = createNode(deps, config);
  await node.start({ signal });
  releaseStartupMemory();
  try {
    const { peerId, pid, addresses, linkPort, socks, proxyPasswordFile, dns, access } = node.status();
    const { socketPath } = config;
    options.onReady?.({ peerId, pid, socketPath, addresses, linkPort, socks, proxyPasswordFile, dns, access });
    const ended = AbortSignal.any([signal, stopRequest.signal]);
    if (!ended.aborted) await new Promise((resolve) => ended.addEventListener('abort', resolve, { once: true }));
  } finally {
    await node.stop();
    logger.info({ component: 'node' }, 'agent stopped');
  }
  return again && !signal.aborted;
}

/** JSON lines on stderr; stdout is for results. */
function createLogger(level: NodeConfig['logLevel']): Logger {
  const destination = pino.destination({ dest: 2, sync: true });
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}

async function main(): Promise<number> {
  const controller = new AbortController();
  let interrupted = 0;
  for (const [name, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.on(name, () => {
      // The first asks for order, the second leaves now: everything acknowledged is on disk.
      if (interrupted !== 0) process.exit(code);
      interrupted = code;
      controller.abort(new MoatError('AGENT_STOPPING', `stopped by ${name}`));
    });
  }
  try {
    const { flags, ready } = readFlags();
    const config = await loadNodeConfig({ flags });
    const onReady = (data: NodeReady): void => {
      process.stdout.write(`${JSON.stringify({ kind: 'ready', version: 1, data })}\n`);
    };
    await runNode(config, { signal: controller.signal, ...(ready ? { onReady } : {}) });
    return interrupted;
  } catch (error) {
    if (interrupted !== 0) return interrupted;
    const known = isMoatError(error) ? error : new MoatError('INTERNAL', 'the agent failed', { cause: error });
    process.stderr.write(`${JSON.stringify({ error: known.toBody() })}\n`);
    if (known.code === 'INTERNAL') console.error(error);
    return known.code === 'CONFIG_INVALID' ? 3 : known.code === 'STATE_LOCKED' ? 6 : 1;
  }
}

/** @throws `CONFIG_INVALID` */
function readFlags(): { readonly flags: NodeConfigInput; readonly ready: boolean } {
  const values = parseFlags();
  const flags = {
    listen: values.listen,
    announce: values.announce,
    linkPort: portOf(values['link-port']),
    linkHost: values['link-host'],
    socksPort: portOf(values['socks-port']),
    logLevel: values['log-level'] as NodeConfig['logLevel'] | undefined,
    anchor: values.anchor,
    mdns: values.mdns,
    dns: values.dns,
    inbound: values.inbound,
  };
  return { flags, ready: values.ready ?? false };
}

function parseFlags() {
  try {
    return parseArgs({
      options: {
        ready: { type: 'boolean' },
        listen: { type: 'string', multiple: true },
        announce: { type: 'string', multiple: true },
        'link-port': { type: 'string' },
        'link-host': { type: 'string' },
        'socks-port': { type: 'string' },
        'log-level': { type: 'string' },
        anchor: { type: 'boolean' },
        mdns: { type: 'boolean' },
        dns: { type: 'boolean' },
        inbound: { type: 'boolean' },
      },
      allowNegative: true,
    }).values;
  } catch (cause) {
    throw new MoatError('CONFIG_INVALID', `flags: ${cause instanceof Error ? cause.message : ''}`, { cause });
  }
}

function portOf(text: string | undefined): number | null | undefined {
  if (text === undefined) return undefined;
  return text === 'off' ? null : Number(text);
}

if (import.meta.main) process.exitCode = await main();
