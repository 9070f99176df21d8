/** Alice and Bob who reach each other only through anchors, in one process: the control plane is memory, the sockets are real. */
import { peerIdFromPublicKey, silentLogger, systemClock, type Clock, type LinkStream, type PeerId } from '@moat/core';
import { createMemoryNetwork, type MemoryNetwork } from '@moat/testkit';

import { createLinks, type LinkService, type LinksOptions } from '../src/index.ts';
import type { SpliceLimits } from '../src/splice-limits.ts';
import type { LinkedPair } from './compliance.ts';
import { ALICE, BOB, LOOPBACK, nextLink } from './linked.ts';
import { echo } from './recorder.ts';

export const ANCHOR: PeerId = peerIdFromPublicKey(new Uint8Array(32).fill(7));

export interface Spliced extends AsyncDisposable {
  readonly network: MemoryNetwork;
  readonly alice: LinkService;
  readonly bob: LinkService;
  readonly anchor: LinkService;
  accept: (stream: LinkStream, side: 'dialer' | 'acceptor') => void;
  /** What each of the two believes its contracts name. */
  readonly anchors: { alice: PeerId[]; bob: PeerId[] };
}

export interface SplicedOptions {
  readonly clock?: Clock;
  readonly splice?: Partial<SpliceLimits>;
  readonly alice?: Partial<LinksOptions>;
  readonly bob?: Partial<LinksOptions>;
  /** Another port than the anchor's, e.g. an evil anchor's. */
  readonly anchorPort?: number;
}

/** Alice's connection to Bob is relayed, both know the anchor; neither has a link yet. */
export async function createSpliced(options: SplicedOptions = {}): Promise<Spliced> {
  const network = createMemoryNetwork();
  const clock = options.clock ?? systemClock;
  const signal = AbortSignal.timeout(60_000);
  const anchors: Spliced['anchors'] = { alice: [ANCHOR], bob: [ANCHOR] };
  const member = (peer: PeerId, name: 'alice' | 'bob'): LinkService => {
    const control = network.join(peer);
    return createLinks(
      {
        logger: silentLogger,
        clock,
        control,
        accept: (stream) => spliced.accept(stream, name === 'alice' ? 'dialer' : 'acceptor'),
        anchors: { of: () => anchors[name], connect: (anchor, aborting) => control.connect(anchor, aborting) },
      },
      { role: 'member', mayLink: () => true, ...options[name] },
    );
  };
  const anchor = createLinks(
    { logger: silentLogger, clock, control: network.join(ANCHOR), accept: (stream) => stream.reset('SERVICE_UNKNOWN') },
    {
      role: 'gateway',
      mayLink: () => false,
      listen: LOOPBACK,
      splice: options.splice ?? true,
      ...(options.anchorPort === undefined ? {} : { announcePort: options.anchorPort }),
    },
  );
  const alice = member(ALICE, 'alice');
  const bob = member(BOB, 'bob');
  await Promise.all([alice, bob, anchor].map((links) => links.start({ signal })));
  // Strangers to the anchor: the protocol is open to anyone.
  for (const peer of [ALICE, BOB]) network.connect(peer, ANCHOR, { admitted: false });
  network.connect(ALICE, BOB, { relayed: true });
  const spliced: Spliced = {
    network,
    alice,
    bob,
    anchor,
    anchors,
    accept: (stream) => void echo(stream),
    async [Symbol.asyncDispose]() {
      await Promise.all([alice, bob, anchor].map((links) => links.stop()));
      for (const [a, b] of [
        [ALICE, BOB],
        [ALICE, ANCHOR],
        [BOB, ANCHOR],
      ] as const) {
        network.disconnect(a, b);
      }
    },
  };
  return spliced;
}

/** Both ends of the spliced link. */
export async function linkSpliced(spliced: Spliced): Promise<LinkedPair> {
  const far = nextLink(spliced.bob);
  const dialer = await spliced.alice.connect(BOB, AbortSignal.timeout(10_000));
  const pair: LinkedPair = {
    dialer,
    acceptor: await far,
    accept: (stream) => void echo(stream),
    [Symbol.asyncDispose]: () => spliced[Symbol.asyncDispose](),
  };
  spliced.accept = (stream, side) => pair.accept(stream, side);
  return pair;
}
