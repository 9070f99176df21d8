/** Asks a router by UPnP: Internet Gateway Device, versions 1 and 2. */
import { MoatError, isMoatError, type Clock } from '@moat/core';
import { mustBePublic } from './outside-address.ts';
import {
  LIFETIME_SECONDS,
  type FindGiver,
  type FoundGiver,
  type GivenPort,
  type GiverDeps,
  type PortGiver,
  type Router,
} from './port-giver.ts';
import { searchRouter } from './ssdp.ts';
import { callUpnp, describedServices, type UpnpService } from './upnp-service.ts';

/** Numbers of UPnP: the external port leads elsewhere; only mappings without an end. */
const [CONFLICTS, ONLY_PERMANENT] = [[718, 729], 725];
/** External ports that are tried. */
const MOST_PORTS = 4;
const [FIRST_PORT, PORTS, STEP] = [1_024, 64_512, 19_937];

/** The first of the router's services with a public address: one with several ways out has a service for each. */
export function upnpFinder({ clock }: GiverDeps): FindGiver {
  return async (router, signal) => {
    let failure: unknown;
    for await (const place of searchRouter(clock, router, signal)) {
      const found = await lookInto(clock, router, place, signal).catch((error: unknown) => (failure = error));
      signal.throwIfAborted();
      if (isFound(found)) return found;
    }
    throw isMoatError(failure)
      ? failure
      : new MoatError('ROUTER_SILENT', 'no router answers by UPnP', { cause: failure });
  };
}

async function lookInto(clock: Clock, router: Router, place: URL, signal: AbortSignal): Promise<FoundGiver> {
  let failure: unknown = new MoatError('ROUTER_INVALID', 'the router describes no service that leads ports');
  for (const service of await describedServices(clock, place, signal)) {
    const giver = new UpnpGiver(clock, router, service);
    try {
      return { giver, outside: await giver.outside(signal) };
    } catch (error) {
      signal.throwIfAborted();
      failure = error;
    }
  }
  throw failure;
}

function isFound(found: unknown): found is FoundGiver {
  return found instanceof Object && 'giver' in found;
}

class UpnpGiver implements PortGiver {
  readonly protocol = 'upnp';
  readonly #clock: Clock;
  readonly #router: Router;
  readonly #service: UpnpService;
  #leaseSeconds = LIFETIME_SECONDS;

  constructor(clock: Clock, router: Router, service: UpnpService) {
    this.#clock = clock;
    this.#router = router;
    this.#service = service;
  }

  async outside(signal: AbortSignal): Promise<string> {
    const answer = await callUpnp(this.#clock, this.#service, 'GetExternalIPAddress', [], signal);
    return mustBePublic(answer('NewExternalIPAddress') ?? '');
  }

  async give(port: number, signal: AbortSignal): Promise<GivenPort> {
    let conflict: unknown;
    for (const externalPort of externalPorts(port)) {
      try {
        return await this.#add(port, externalPort, signal);
      } catch (error) {
        if (!CONFLICTS.includes(codeOf(error))) throw error;
        conflict = error;
      }
    }
    throw conflict;
  }

  async take(_: number, { externalPort }: GivenPort, signal: AbortSignal): Promise<void> {
    await callUpnp(this.#clock, this.#service, 'DeletePortMapping', outer(externalPort), signal);
  }

  /** One without an end only where the router has no other. */
  async #add(port: number, externalPort: number, signal: AbortSignal): Promise<GivenPort> {
    const add = async (seconds: number): Promise<void> => {
      const inner = [
        ['NewInternalPort', port],
        ['NewInternalClient', this.#router.own],
        ['NewEnabled', 1],
        ['NewPortMappingDescription', 'Moat'],
        ['NewLeaseDuration', seconds],
      ] as const;
      await callUpnp(this.#clock, this.#service, 'AddPortMapping', [...outer(externalPort), ...inner], signal);
    };
    try {
      await add(this.#leaseSeconds);
    } catch (error) {
      if (codeOf(error) !== ONLY_PERMANENT || this.#leaseSeconds === 0) throw error;
      await add(0);
      this.#leaseSeconds = 0;
    }
    return { externalPort, lifetimeSeconds: this.#leaseSeconds === 0 ? null : this.#leaseSeconds };
  }
}

function outer(externalPort: number): readonly (readonly [string, string | number])[] {
  return [
    ['NewRemoteHost', ''],
    ['NewExternalPort', externalPort],
    ['NewProtocol', 'UDP'],
  ];
}

/**
 * The same ones for the same port each time: an agent that was killed asks for the mapping it had, and leaves none that
 * nobody knows of.
 */
export function externalPorts(port: number): readonly number[] {
  return Array.from({ length: MOST_PORTS }, (_, i) => (i === 0 ? port : FIRST_PORT + ((port + i * STEP) % PORTS)));
}

function codeOf(error: unknown): number {
  const code = isMoatError(error, 'ROUTER_REFUSED') ? error.details['code'] : undefined;
  return typeof code === 'number' ? code : 0;
}
