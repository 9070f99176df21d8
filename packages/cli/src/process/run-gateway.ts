/** The gateway in this process. A file of its own: loading it loads the whole gateway. */
import { createGatewayLog, onHangup, parseGatewayConfig, runGateway, type GatewayConfig } from '@moat/gateway';
import { MoatError } from '@moat/core';
import type { Context } from '../context.ts';
import { readTextFile, resolvePath } from '../input/files.ts';
import { ServiceManager } from '../service/notify.ts';

const LOG_LEVELS: readonly string[] = ['trace', 'debug', 'info', 'warn', 'error'];

export interface RunGatewayProcessOptions {
  readonly config: string;
  readonly logLevel?: string;
}

/**
 * Runs until Ctrl-C or `POST /stop`.
 * @throws `FILE_MISSING`, `GATEWAY_CONFIG_INVALID`, `LISTEN_FAILED`
 */
export async function runGatewayProcess(context: Context, options: RunGatewayProcessOptions): Promise<void> {
  const { io, style } = context;
  const { logLevel = 'info' } = options;
  if (!LOG_LEVELS.includes(logLevel)) {
    throw new MoatError('USAGE', `--log-level ${logLevel} is none of ${LOG_LEVELS.join(', ')}`);
  }
  const readConfig = async (): Promise<GatewayConfig> => {
    const text = await readTextFile(io, options.config, ['moat gateway init', 'or name yours with --config FILE']);
    return parseGatewayConfig(text, resolvePath(io, options.config), io.env);
  };
  const config = await readConfig();
  using manager = new ServiceManager(io.env);
  const serving = `serving ${config.domain}`;
  io.signal.addEventListener('abort', () => manager.stopping(), { once: true });
  await runGateway(config, {
    signal: io.signal,
    ...createGatewayLog(config, logLevel),
    readConfig,
    onReloadAsked: (reload) =>
      onHangup(() => {
        manager.reloading();
        void reload().then(() => manager.ready(serving));
      }),
    logLevel,
    onReady: (addresses) => {
      manager.ready(serving);
      const ready = { kind: 'gateway-ready', version: 1, data: addresses };
      const line = `${style.ok} gateway ${style.bold(addresses.domain)} is ready, https on port ${addresses.httpsPort}`;
      io.stdout.write(`${context.json ? JSON.stringify(ready) : line}\n`);
    },
  });
}
