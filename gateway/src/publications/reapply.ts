/** What another gateway.yaml means for what is published already. */
import type { NameRegistry } from '../names/registry.ts';
import type { Intake } from './intake.ts';
import type { Ledger } from './ledger.ts';
import type { PublisherBook } from './publisher-book.ts';

export interface ReapplyDeps {
  readonly intake: Pick<Intake, 'recheck' | 'refreshRoutes'>;
  readonly ledger: Pick<Ledger, 'list'>;
  readonly publishers: Pick<PublisherBook, 'mayPublish'>;
  readonly registry: Pick<NameRegistry, 'list' | 'mayServe'>;
}

/** Keys that routes are made from. */
const OF_ROUTES: readonly string[] = ['interstitial', 'tcpPorts'];

/**
 * Who may not publish any more, or not on its port, is off the air and hears of it; who may now comes by itself.
 * @param keys of gateway.yaml that differ from before
 */
export function reapply({ intake, ledger, publishers, registry }: ReapplyDeps, keys: readonly string[]): void {
  const denied = ledger.list().flatMap(({ deployment }) => (publishers.mayPublish(deployment) ? [] : [deployment]));
  const closed = registry.list().flatMap(({ host, deployment }) => (registry.mayServe(host) ? [] : [deployment]));
  if (keys.some((key) => OF_ROUTES.includes(key))) intake.refreshRoutes();
  const told = keys.includes('tcpPorts') ? [...denied, ...closed] : denied;
  for (const deployment of new Set(told)) intake.recheck(deployment);
}
