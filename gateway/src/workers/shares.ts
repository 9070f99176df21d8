/** How many workers there are, and which part of a gateway's bounds each has. */
import * as net from 'node:net';
import { availableParallelism } from 'node:os';
import type { GatewayLimits } from '../config.ts';

/** Tickets of two rounds fit into what a member dials at once (16). */
export const MAX_WORKERS = 8;

/** As configured: a number, or one a core. */
export type WorkersOption = number | 'auto';

/** Processes that carry traffic; 1 = this process itself, without any other. */
export function countWorkers(option: WorkersOption, cores: number = availableParallelism()): number {
  return option === 'auto' ? Math.max(1, Math.min(MAX_WORKERS, cores)) : option;
}

/** Sockets that are bound and not listened on came with Node 24.19 and 26.4, and ports to share with libuv's platforms. */
export function canShareListeners(): boolean {
  return 'BoundSocket' in net && !['win32', 'darwin'].includes(process.platform);
}

/**
 * One worker's bounds. What counts all clients together is divided: the kernel spreads connections evenly. What counts
 * one client is whole at each worker, as a client with one connection must get all of it; who spreads over all workers
 * gets as much at each.
 */
export function shareLimits(limits: GatewayLimits, workers: number): GatewayLimits {
  const share = (whole: number): number => Math.ceil(whole / workers);
  return {
    ...limits,
    connections: share(limits.connections),
    requests: share(limits.requests),
    requestsPerDeployment: share(limits.requestsPerDeployment),
    connectionsPerDeployment: share(limits.connectionsPerDeployment),
  };
}
