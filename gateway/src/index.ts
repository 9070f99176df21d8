/**
 * The public edge: a process of its own that leads published names, and nothing else, inward.
 *
 * @example
 * ```ts
 * import { parseGatewayConfig, runGateway } from '@moat/gateway';
 * const config = parseGatewayConfig('version: 1\ndomain: localhost\npublishers: open\ntls: local\n', 'gateway.yaml', process.env);
 * const stop = new AbortController();
 * await runGateway(config, { signal: stop.signal, onReady: ({ httpsPort }) => console.log(`https on ${httpsPort}`) });
 * ```
 * @packageDocumentation
 */
export { isSealedBackup, packBackup, type BackupFacts } from './backup/archive.ts';
export { restoreBackup, type Restored, type RestoreOptions } from './backup/restore.ts';
export type { CertificateFiles } from './certificates/files.ts';
export {
  gatewayHome,
  parseGatewayConfig,
  type GatewayConfig,
  type GatewayLimits,
  type GatewayListen,
  type HostPort,
  type Publishers,
} from './config.ts';
export type { GatewayAddresses } from './addresses.ts';
export { createGateway, type Gateway, type GatewayDeps } from './create-gateway.ts';
export { GATEWAY_ERROR_CODES, type GatewayErrorCode } from './errors.ts';
export { createLogger } from './logger.ts';
export { createGatewayLog, onHangup, runGateway, type GatewayLog, type RunGatewayOptions } from './main.ts';
