/** Metrics and health of a running gateway, wired. */
import type { Logger } from '@moat/core';
import type { GatewayFacts } from '../admin/report.ts';
import { Operations } from './endpoint.ts';
import { createMetricsRegistry } from './registry.ts';
import { metricSources, type MoreSources } from './sources.ts';

export interface OperationsParts extends MoreSources {
  readonly logger: Logger;
  /** Gets the figures of now. */
  refresh(): Promise<void>;
}

export function createOperations(facts: GatewayFacts, parts: OperationsParts): Operations {
  let registry: ReturnType<typeof createMetricsRegistry> | undefined;
  return new Operations({
    logger: parts.logger,
    ready: () => parts.ready(),
    refresh: () => parts.refresh(),
    registry: () => (registry ??= createMetricsRegistry(metricSources(facts, parts))),
  });
}
