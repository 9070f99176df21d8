/** Lists by which a gateway changes its PeerIds. */
import { z } from 'zod';
import { CONTRACT_LIMITS } from '../limits.ts';
import type { SignedGatewayPeers } from '../schema.ts';
import { hostName, peerId, signature, sortedSetOf } from './fields.ts';

const peers = sortedSetOf(peerId, CONTRACT_LIMITS.peers).refine((list) => list.length > 0, 'names no machine');

export const signedGatewayPeersSchema: z.ZodType<SignedGatewayPeers> = z.strictObject({
  list: z.strictObject({
    type: z.literal('moat/gateway-peers/1'),
    domain: hostName,
    number: z.int().min(1),
    peers,
    before: peers,
  }),
  signatures: z.array(z.strictObject({ node: peerId, signature })).max(CONTRACT_LIMITS.peers),
});

export const gatewayPeerListsSchema: z.ZodType<SignedGatewayPeers[]> = z
  .array(signedGatewayPeersSchema)
  .max(CONTRACT_LIMITS.gatewayLists);
