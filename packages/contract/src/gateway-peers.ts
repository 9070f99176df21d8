/** How a gateway changes its PeerIds without everybody pinning it anew: numbered lists, each signed by the machines before it. */
import { MoatError, peerIdFromPublicKey, verifySignature, type PeerId, type Signer } from '@moat/core';
import { canonicalBytes } from './canonical.ts';
import { keyOfNode } from './signing-key.ts';
import type { GatewayPeers, SignedGatewayPeers } from './schema.ts';

/** A list nobody has signed yet; PeerIds in any order. */
export function createGatewayPeers(fields: Omit<GatewayPeers, 'type'>): SignedGatewayPeers {
  const { domain, number, peers, before } = fields;
  const list: GatewayPeers = {
    type: 'moat/gateway-peers/1',
    domain,
    number,
    peers: [...new Set(peers)].sort(),
    before: [...new Set(before)].sort(),
  };
  return { list, signatures: [] };
}

/** Adds the signature of one of the machines `before`, with its node key. Signing again changes nothing. */
export function signGatewayPeers({ list, signatures }: SignedGatewayPeers, nodeSigner: Signer): SignedGatewayPeers {
  const node = peerIdFromPublicKey(nodeSigner.publicKey);
  const signature = nodeSigner.sign('moat/gateway-peers/1', canonicalBytes(list));
  return { list, signatures: [...signatures.filter((other) => other.node !== node), { node, signature }] };
}

/**
 * Where a gateway's lists lead from the PeerIds that are pinned: the newest ones, or `pinned` itself where no list
 * replaces it. Lists that do not begin at what is pinned are passed over, unverified.
 * @param lists in any order.
 * @throws `GATEWAY_PEERS_FORGED` when a list on the way is not signed by every machine it replaces, is of another
 * domain, or stands beside another of its number.
 */
export function followGatewayPeers(
  domain: string,
  pinned: readonly PeerId[],
  lists: readonly SignedGatewayPeers[],
): PeerId[] {
  let current = [...new Set(pinned)].sort();
  let number: number | undefined;
  const ordered = lists.filter(({ list }) => list.domain === domain).sort((a, b) => a.list.number - b.list.number);
  for (const signed of ordered) {
    const { list } = signed;
    const follows = list.before.join() === current.join() && (number === undefined || list.number === number + 1);
    if (!follows) continue;
    const rivals = ordered.filter(({ list: other }) => other.number === list.number && !isSame(other, list));
    if (rivals.some((other) => isSigned(other))) throw forged(list, 'another list of that number is signed as well');
    if (!isSigned(signed)) throw forged(list, 'not every machine that it replaces has signed it');
    [current, number] = [[...list.peers], list.number];
  }
  return current;
}

function isSigned({ list, signatures }: SignedGatewayPeers): boolean {
  const bytes = canonicalBytes(list);
  const signed = ({ node, signature }: SignedGatewayPeers['signatures'][number]): boolean =>
    verifySignature('moat/gateway-peers/1', bytes, signature, keyOfNode(node));
  return (
    list.before.length > 0 && list.before.every((node) => signatures.some((own) => own.node === node && signed(own)))
  );
}

function isSame(one: GatewayPeers, other: GatewayPeers): boolean {
  return Buffer.compare(canonicalBytes(one), canonicalBytes(other)) === 0;
}

function forged({ domain, number }: GatewayPeers, reason: string): MoatError<'GATEWAY_PEERS_FORGED'> {
  return new MoatError(
    'GATEWAY_PEERS_FORGED',
    `list ${number} of the machines of ${domain} is not believed: ${reason}`,
    {
      details: { domain, number },
    },
  );
}
