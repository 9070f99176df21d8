/**
 * The agent of a machine: takes contracts that a quorum signed, brings the machine in line with them, and serves
 * the local API. `main.ts` is the process; `create-node.ts` says what is made of what.
 *
 * @example
 * ```ts
 * import { loadNodeConfig, runNode } from '@moat/node';
 * const config = await loadNodeConfig({ flags: { mdns: false, listen: ['/ip4/127.0.0.1/tcp/0'] } });
 * await runNode(config, { signal, onReady: ({ socketPath }) => console.log(socketPath) });
 * ```
 * @packageDocumentation
 */
export {
  defaultStateDir,
  loadNodeConfig,
  type ConfigSources,
  type NodeConfig,
  type NodeConfigInput,
} from './config.ts';
export { createNode, type MoatNode, type NodeDeps } from './create-node.ts';
export { NODE_ERROR_CODES, type NodeErrorCode } from './errors.ts';
export { installDns, readDnsWiring, uninstallDns, type DnsWiring, type WiringDeps } from './names/wiring.ts';
export { runNode, type NodeReady, type RunNodeOptions } from './main.ts';
