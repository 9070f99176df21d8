/** Asks this network's router for ports, by NAT-PMP and UPnP at once. */
import type { Clock, Logger, PortMapper, PortMapping } from '@moat/core';
import { askRouter } from './ask-router.ts';
import { defaultRouter } from './default-router.ts';
import { KeptPort } from './kept-port.ts';
import { natPmpFinder } from './nat-pmp-giver.ts';
import type { FindGiver, Router } from './port-giver.ts';
import { upnpFinder } from './upnp-giver.ts';

export interface RouterPortMapperDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** @defaultValue the default gateway of this machine, as Linux tells it */
  readonly router?: (() => Promise<Router | null>) | undefined;
}

/**
 * Only the default gateway's own address is heard, and what it says is believed only where it names a public address:
 * behind a second router a mapping leads nowhere. Bound: one mapping a port of ours.
 */
export class RouterPortMapper implements PortMapper {
  readonly #deps: RouterPortMapperDeps;
  readonly #finders: readonly FindGiver[];
  readonly #ports = new Map<number, KeptPort>();
  readonly #listeners = new Set<(port: number) => void>();
  /** Ports that are being given back: the next question for one waits. */
  readonly #leaving = new Map<number, Promise<void>>();

  constructor(deps: RouterPortMapperDeps) {
    this.#deps = deps;
    this.#finders = [natPmpFinder(deps), upnpFinder(deps)];
  }

  async map(port: number): Promise<PortMapping | null> {
    const kept = this.#ports.get(port) ?? this.#keep(port);
    await this.#leaving.get(port);
    return kept.map();
  }

  mapping(port: number): PortMapping | null {
    return this.#ports.get(port)?.mapping ?? null;
  }

  onChange(listener: (port: number) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async unmap(port: number): Promise<void> {
    const kept = this.#ports.get(port);
    this.#ports.delete(port);
    if (kept === undefined) return;
    const left = Promise.all([this.#leaving.get(port), kept.giveBack()]).then(() => {
      if (this.#leaving.get(port) === left) this.#leaving.delete(port);
    });
    this.#leaving.set(port, left);
    await left;
  }

  /** Leaves mappings to their end: whoever they lead to goes on. */
  async stop(): Promise<void> {
    await Promise.all([...this.#ports.values()].map((kept) => kept.stop()));
    this.#ports.clear();
  }

  #keep(port: number): KeptPort {
    const { clock, logger, router = defaultRouter } = this.#deps;
    const kept = new KeptPort(
      {
        clock,
        logger,
        router,
        ask: (found, signal) => askRouter(this.#finders, found, port, signal),
        onChange: () => {
          for (const listener of this.#listeners) listener(port);
        },
      },
      port,
    );
    this.#ports.set(port, kept);
    return kept;
  }
}
