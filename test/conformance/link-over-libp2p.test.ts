/** The link compliance suite over one real libp2p stream: direct, and through an anchor of two peers without an inbound port. */
import { silentLogger, systemClock, type DeploymentId, type LinkStream } from '@moat/core';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { createLinks, type LinkService } from '@moat/link';
import { createMemoryAddressBook, createOverlay, noDeployments, type Overlay } from '@moat/overlay';
import { linkCompliance, type LinkedPair } from '../../packages/link/test/compliance.ts';
import { echo } from '../../packages/link/test/recorder.ts';
import { eventually } from '../e2e/machine.ts';

const DEPLOYMENT: DeploymentId = 'q7f3'.padEnd(26, 'a');
const LISTEN = ['/ip4/127.0.0.1/tcp/0'];

interface Peer {
  readonly overlay: Overlay;
  readonly links: LinkService;
  readonly key: NodeKey;
  accept: (stream: LinkStream) => void;
}

async function startPeer(
  listen: readonly string[],
  key: NodeKey,
  others: readonly NodeKey[],
  anchors: readonly string[],
): Promise<Peer> {
  const overlay = createOverlay(
    {
      logger: silentLogger,
      clock: systemClock,
      key,
      addressBook: createMemoryAddressBook(),
      deployments: {
        ...noDeployments,
        deployments: () => [DEPLOYMENT],
        sharedWith: (peer) => (others.some(({ peerId }) => peerId === peer) ? [DEPLOYMENT] : []),
        members: () => [key, ...others].map(({ peerId }) => ({ peer: peerId, keeper: false })),
        anchors: () => anchors,
      },
    },
    { listen, mdns: false },
  );
  const peer: Peer = {
    overlay,
    key,
    accept: (stream) => void echo(stream),
    links: createLinks(
      { logger: silentLogger, clock: systemClock, control: overlay, accept: (stream) => peer.accept(stream) },
      { role: 'member', mayLink: () => true },
    ),
  };
  const signal = AbortSignal.timeout(20_000);
  await overlay.start({ signal });
  await peer.links.start({ signal });
  return peer;
}

async function linkPair(listen: readonly string[], anchor?: Overlay): Promise<LinkedPair> {
  const [aliceKey, bobKey] = [createNodeKey(), createNodeKey()];
  const anchors = anchor?.addresses() ?? [];
  const alice = await startPeer([], aliceKey, [bobKey], anchors);
  const bob = await startPeer(listen, bobKey, [aliceKey], anchors);
  if (anchor) {
    for (const { overlay } of [alice, bob]) {
      overlay.viewChanged();
      await eventually('a reservation stands', async () => overlay.reservations().length > 0);
    }
  }
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

async function startAnchor(): Promise<Overlay> {
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

linkCompliance('over one libp2p stream', () => linkPair(LISTEN), { transferBytes: 16 * 2 ** 20 });
linkCompliance('over one libp2p stream through an anchor', async () => linkPair([], await startAnchor()), {
  transferBytes: 4 * 2 ** 20,
});
