/** The wiring of what passes packets on for others, and of who does. */
import type { Clock, ControlPlane, Logger, PeerId } from '@moat/core';
import type { ContractView } from '@moat/contract';
import { initiationTestOf } from '@moat/identity';
import { ForwardDesk, Forwarder, type PortRange } from '@moat/network';
import type { NodeConfig } from '../config.ts';
import type { Deployments } from '../deployments/deployments.ts';

export interface ForwardingDeps {
  readonly self: PeerId;
  readonly control: ControlPlane;
  readonly deployments: Pick<Deployments, 'list'>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Nobody is served by a contract that is too old to be acted upon. */
export function createForwarding(
  { self, control, deployments, clock, logger }: ForwardingDeps,
  { relay, relayPorts }: Pick<NodeConfig, 'relay' | 'relayPorts'>,
): ForwardDesk {
  const views = (): readonly ContractView[] =>
    deployments
      .list()
      .filter((each) => each.view.memberOf(self) !== undefined && each.staleness(clock.now()) !== 'stale')
      .map(({ view }) => view);
  const forwarder = new Forwarder(
    {
      self,
      clock,
      logger,
      initiations: initiationTestOf,
      viewOf: (deployment) => views().find(({ contract }) => contract.deployment === deployment),
    },
    relayPorts === undefined ? {} : { ports: portRangeOf(relayPorts) },
  );
  return new ForwardDesk({ control, clock, logger, views, forwarder: relay ? forwarder : undefined });
}

/** @param text as {@link NodeConfig.relayPorts} */
function portRangeOf(text: string): PortRange {
  const [first = 0, last = first] = text.split('-').map(Number);
  return { first, last };
}
