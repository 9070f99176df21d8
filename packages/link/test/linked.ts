/** Two machines in one process, linked by the real pool over a memory control plane. */
import { silentLogger, systemClock, type Clock, type Link, type LinkStream, type PeerConnection } from '@moat/core';
import { createMemoryNetwork, type MemoryNetwork } from '@moat/testkit';

import { createLinks, type LinkService, type LinksOptions } from '../src/index.ts';
import type { LinkedPair } from './compliance.ts';
import { echo } from './recorder.ts';

export const ALICE = '12D3KooWAlice';
export const BOB = '12D3KooWBob';

export interface Machines extends AsyncDisposable {
  readonly network: MemoryNetwork;
  readonly alice: LinkService;
  readonly bob: LinkService;
  /** Alice's connection to Bob: she dialed it. */
  readonly connection: PeerConnection;
  accept: (stream: LinkStream, side: 'dialer' | 'acceptor') => void;
}

export interface MachinesOptions {
  readonly alice?: Partial<LinksOptions>;
  readonly bob?: Partial<LinksOptions>;
  readonly relayed?: boolean;
  readonly clock?: Clock;
}

/** Alice dialed Bob; neither has a link yet. */
export async function createMachines(options: MachinesOptions = {}): Promise<Machines> {
  const network = createMemoryNetwork();
  const clock = options.clock ?? systemClock;
  const signal = AbortSignal.timeout(60_000);
  const make = (peer: string, side: 'dialer' | 'acceptor', more: Partial<LinksOptions> = {}): LinkService =>
    createLinks(
      { logger: silentLogger, clock, control: network.join(peer), accept: (stream) => machines.accept(stream, side) },
      { role: 'member', mayLink: () => true, ...more },
    );
  const alice = make(ALICE, 'dialer', options.alice);
  const bob = make(BOB, 'acceptor', options.bob);
  await Promise.all([alice.start({ signal }), bob.start({ signal })]);
  const machines: Machines = {
    network,
    alice,
    bob,
    connection: network.connect(ALICE, BOB, { relayed: options.relayed ?? false }),
    accept: (stream) => void echo(stream),
    async [Symbol.asyncDispose]() {
      await Promise.all([alice.stop(), bob.stop()]);
      network.disconnect(ALICE, BOB);
    },
  };
  return machines;
}

/** Both ends of the link that Alice makes to Bob. */
export async function linkMachines(machines: Machines): Promise<LinkedPair> {
  const far = nextLink(machines.bob);
  const dialer = await machines.alice.connect(BOB, AbortSignal.timeout(10_000));
  const acceptor = await far;
  const pair: LinkedPair = {
    dialer,
    acceptor,
    accept: (stream) => void echo(stream),
    [Symbol.asyncDispose]: () => machines[Symbol.asyncDispose](),
  };
  machines.accept = (stream, side) => pair.accept(stream, side);
  return pair;
}

export function nextLink(links: LinkService): Promise<Link> {
  return new Promise((resolve) => {
    const stop = links.onLink((link) => {
      stop();
      resolve(link);
    });
  });
}

export const LOOPBACK = { host: '127.0.0.1', port: 0 } as const;
