/** Multiaddrs in text form, as contracts and tokens carry them: where a peer is reached and who it is. */
import { MoatError, isPeerId, type PeerId } from '@moat/core';
import { isIpv4, isIpv6 } from './ip.ts';

const MAX_MULTIADDR_CHARS = 512;

/** Protocol → check of its value; null = it has none. Others are refused until Moat can dial them. */
const PROTOCOLS: ReadonlyMap<string, ((value: string) => boolean) | null> = new Map([
  ['ip4', (value: string) => isIpv4(value)],
  ['ip6', (value: string) => isIpv6(value)],
  ['dns', isHostName],
  ['dns4', isHostName],
  ['dns6', isHostName],
  ['tcp', isPort],
  ['udp', isPort],
  ['p2p', isPeerId],
  ['tls', null],
  ['ws', null],
  ['wss', null],
  ['quic-v1', null],
  ['p2p-circuit', null],
]);

/**
 * The PeerId at the end of `/dns4/gw.example.com/tcp/4410/p2p/12D3Koo…`; with `/p2p-circuit`, the peer
 * behind the relay.
 * @throws `ADDRESS_INVALID` unless the text is a multiaddr of known protocols that ends in `/p2p/<PeerId>`.
 */
export function peerIdOfMultiaddr(text: string): PeerId {
  const parts = text.length > MAX_MULTIADDR_CHARS ? [] : text.split('/');
  if (parts.length < 3 || parts[0] !== '') throw invalid(text);
  let last: string | undefined;
  let peer = '';
  for (let i = 1; i < parts.length; i++) {
    last = parts[i] ?? '';
    const check = PROTOCOLS.get(last);
    if (check === undefined) throw invalid(text);
    if (check === null) continue;
    const value = parts[++i] ?? '';
    if (!check(value)) throw invalid(text);
    if (last === 'p2p') peer = value;
  }
  if (last !== 'p2p') throw invalid(text);
  return peer;
}

/** A host name as DNS allows it: labels of letters, digits, hyphens and underscores, 253 characters at most. */
export function isHostName(text: string): boolean {
  return (
    text.length <= 253 &&
    /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/i.test(text)
  );
}

function isPort(text: string): boolean {
  return /^[1-9]\d{0,4}$/.test(text) && Number(text) <= 65_535;
}

function invalid(text: string): MoatError<'ADDRESS_INVALID'> {
  return new MoatError('ADDRESS_INVALID', 'not a multiaddr that ends in /p2p/<PeerId>', {
    details: { address: text.slice(0, MAX_MULTIADDR_CHARS) },
  });
}
