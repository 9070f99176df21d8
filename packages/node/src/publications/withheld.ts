/** What a contract publishes from this machine and its operator did not open to the public. */
import type { ExposedTargets } from '@moat/network';
import { servicesOfLine } from '@moat/contract';
import type { Deployment } from '../deployments/deployment.ts';

/** A service that gateways are refused. */
export interface Withheld {
  readonly service: string;
  readonly target: string;
}

/** Published services that this machine offers and lets no gateway reach; each once. */
export function withheldBy(deployment: Deployment, exposed: Pick<ExposedTargets, 'isExposed'>): readonly Withheld[] {
  const { id, contract, view, place } = deployment;
  if (place === undefined || contract.state === 'ended') return [];
  const published = new Set(contract.publish.flatMap(servicesOfLine));
  return view
    .servicesOf(place.name)
    .filter(({ name, target }) => published.has(name) && !exposed.isExposed(target, id, true))
    .map(({ name, target }) => ({ service: name, target }));
}

/** What the operator of this machine types to consent. */
export function consentLine(deployment: Deployment, { target }: Pick<Withheld, 'target'>): string {
  return `moat node expose ${target} --to ${deployment.contract.name} --public`;
}
