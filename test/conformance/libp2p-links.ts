/** Two machines whose link is one real libp2p stream: direct, or through an anchor where neither has an inbound port. */
import { peerIdOfMultiaddr } from '@moat/contract';
import { silentLogger, systemClock, type DeploymentId, type LinkStream, type PeerId } from '@moat/core';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { createLinks, type LinkService, type LinksOptions } from '@moat/link';
import { createMemoryAddressBook, createOverlay, noDeployments, type Overlay } from '@moat/overlay';
import type { LinkedPair } from '../../packages/link/test/compliance.ts';
import { echo } from '../../packages/link/test/recorder.ts';
import { eventually } from '../e2e/machine.ts';

const DEPLOYMENT: DeploymentId = 'q7f3'.padEnd(26, 'a');
/** Where a machine listens that can be dialed. */
export const LISTEN: readonly string[] = ['/ip4/127.0.0.1/tcp/0'];

/** A machine with an overlay and links over it. */
export interface Peer {
  readonly overlay: Overlay;
  readonly links: LinkService;
  accept: (stream: LinkStream) => void;
}

export interface PeerOptions {
  /** Where its overlay listens; nowhere: it has no inbound port. */
  readonly listen: readonly string[];
  readonly key: NodeKey;
  readonly others: readonly PeerId[];
  /** Multiaddrs of anchors. */
  readonly anchors: readonly string[];
  readonly links?: Partial<LinksOptions>;
}

/** A member of a deployment with `others`; its links can be spliced at `anchors`. */
export async function startPeer({ listen, key, others, anchors, links }: PeerOptions): Promise<Peer> {
  const overlay = createOverlay(
    {
      logger: silentLogger,
      clock: systemClock,
      key,
      addressBook: createMemoryAddressBook(),
      deployments: {
        ...noDeployments,
        deployments: () => [DEPLOYMENT],
        sharedWith: (peer) => (others.includes(peer) ? [DEPLOYMENT] : []),
        members: () => [key.peerId, ...others].map((peer) => ({ peer, keeper: false })),
        anchors: () => anchors,
      },
    },
    { listen, mdns: false },
  );
  const peer: Peer = {
    overlay,
    accept: (stream) => void echo(stream),
    links: createLinks(
      {
        logger: silentLogger,
        clock: systemClock,
        control: overlay,
        accept: (stream) => peer.accept(stream),
        anchors: {
          of: () => anchors.map(peerIdOfMultiaddr),
          connect: (anchor, signal) =>
            overlay.dial(
              anchors.filter((address) => peerIdOfMultiaddr(address) === anchor),
              signal,
            ),
        },
      },
      { role: 'member', mayLink: () => true, ...links },
    ),
  };
  const signal = AbortSignal.timeout(20_000);
  await overlay.start({ signal });
  await peer.links.start({ signal });
  if (anchors.length > 0) {
    overlay.viewChanged();
    await eventually('a reservation stands', async () => overlay.reservations().length > 0);
  }
  return peer;
}

/** Both ends; with an anchor, it is stopped with them. */
export async function linkPair(listen: readonly string[], anchor?: Overlay): Promise<LinkedPair> {
  const [aliceKey, bobKey] = [createNodeKey(), createNodeKey()];
  const anchors = anchor?.addresses() ?? [];
  const alice = await startPeer({ listen: [], key: aliceKey, others: [bobKey.peerId], anchors });
  const bob = await startPeer({ listen, key: bobKey, others: [aliceKey.peerId], anchors });
  const far = new Promise<LinkedPair['acceptor']>((resolve) => bob.links.onLink(resolve));
  const signal = AbortSignal.timeout(20_000);
  if (!anchor) await alice.overlay.dial(bob.overlay.addresses(), signal);
  const dialer = await alice.links.connect(bobKey.peerId, signal);
  const pair: LinkedPair = {
    dialer,
    acceptor: await far,
    accept: (stream) => void echo(stream),
    async [Symbol.asyncDispose]() {
      for (const { links, overlay } of [alice, bob]) {
        await links.stop();
        await overlay.stop();
      }
      await anchor?.stop();
    },
  };
  alice.accept = (stream) => pair.accept(stream, 'dialer');
  bob.accept = (stream) => pair.accept(stream, 'acceptor');
  return pair;
}

/** An anchor of nobody's deployment. */
export async function startAnchor(): Promise<Overlay> {
  const anchor = createOverlay(
    {
      logger: silentLogger,
      clock: systemClock,
      key: createNodeKey(),
      addressBook: createMemoryAddressBook(),
      deployments: noDeployments,
    },
    { listen: LISTEN, mdns: false, anchor: true },
  );
  await anchor.start({ signal: AbortSignal.timeout(20_000) });
  return anchor;
}
