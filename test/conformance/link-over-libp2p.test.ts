/** The link compliance suite over one real libp2p stream: direct, and through an anchor of two peers without an inbound port. */
import { linkCompliance } from '../../packages/link/test/compliance.ts';
import { LISTEN, linkPair, startAnchor } from './libp2p-links.ts';

linkCompliance('over one libp2p stream', () => linkPair(LISTEN), { transferBytes: 16 * 2 ** 20 });
linkCompliance('over one libp2p stream through an anchor', async () => linkPair([], await startAnchor()), {
  transferBytes: 4 * 2 ** 20,
});
