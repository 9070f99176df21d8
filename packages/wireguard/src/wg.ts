/** `wg` of wireguard-tools: an interface as it stands, and changes to it that leave all else alone. */
import type { Endpoint, PeerChange, TunnelPeer, TunnelPeerState } from '@moat/core';
import { isIP, isIPv6 } from 'node:net';
import { canonicalCidr } from './cidr.ts';
import { failure } from './errors.ts';
import { createWireguardKey, isWireguardKey } from './keys.ts';
import type { ToolRun } from './tool.ts';

/** What `wg show … dump` says of an interface. */
export interface WgDump {
  /** Secret. Null = none set. */
  readonly privateKey: string | null;
  /** UDP; 0 = none. */
  readonly port: number;
  readonly peers: readonly TunnelPeerState[];
}

/** Peers whose change fits one command line. */
const PEERS_A_RUN = 50;
const ALLOWED_IPS_A_RUN = 500;

/** Reads what `wg show NAME dump` printed. @throws `TUNNEL_FAILED` when it is something else. */
export function parseWgDump(text: string): WgDump {
  const [first = '', ...rest] = text.split('\n').filter((line) => line !== '');
  const [privateKey = '', publicKey = '', port = '', , ...more] = first.split('\t');
  if (more.length > 0 || !isNone(privateKey, isWireguardKey) || !isNone(publicKey, isWireguardKey)) throw strange();
  return {
    privateKey: privateKey === '(none)' ? null : privateKey,
    port: readNumber(port, 65_535),
    peers: rest.map((line) => readPeer(line.split('\t'))),
  };
}

/** The run that prints the dump of an interface. */
export function showDump(name: string): ToolRun {
  return { tool: 'wg', args: ['show', name, 'dump'] };
}

/** The run that sets an interface's own key: by standard input, as the rest of a machine sees a command line. */
export function setPrivateKey(name: string, privateKey: string): ToolRun {
  if (!isWireguardKey(privateKey))
    throw failure('TUNNEL_FAILED', 'this is not the private key of a WireGuard interface');
  return {
    tool: 'wg',
    args: ['set', name, 'private-key', '/dev/stdin'],
    input: `${privateKey}\n`,
    secret: true,
  };
}

export function setPort(name: string, port: number): ToolRun {
  return { tool: 'wg', args: ['set', name, 'listen-port', String(port)] };
}

/** Runs that give peers exactly these allowed IPs, in this order; peers that are not there yet are made. */
export function setPeers(name: string, peers: readonly TunnelPeer[]): ToolRun[] {
  return runs(
    name,
    peers.map((peer) => ({
      weight: peer.allowedIps.length,
      args: ['peer', checkedKey(peer.publicKey), 'allowed-ips', peer.allowedIps.join(',')],
    })),
  );
}

export function removePeers(name: string, publicKeys: readonly string[]): ToolRun[] {
  return runs(
    name,
    publicKeys.map((key) => ({ weight: 0, args: ['peer', checkedKey(key), 'remove'] })),
  );
}

/**
 * Runs that take allowed IPs from whoever has them. `wg` can only replace a peer's whole list, which for a moment leaves
 * it without any; giving the ranges to a peer made for it, which then goes, touches nobody else.
 */
export function takeAllowedIps(name: string, allowedIps: readonly string[]): ToolRun[] {
  const heap = createWireguardKey().publicKey;
  const parts = Array.from({ length: Math.ceil(allowedIps.length / ALLOWED_IPS_A_RUN) }, (_, index) =>
    allowedIps.slice(index * ALLOWED_IPS_A_RUN, (index + 1) * ALLOWED_IPS_A_RUN),
  );
  return parts.map((part) => ({
    tool: 'wg',
    args: ['set', name, 'peer', heap, 'allowed-ips', part.join(','), 'peer', heap, 'remove'],
  }));
}

/** The run that changes a peer that stands. @throws `TUNNEL_FAILED` for an endpoint that is no address. */
export function changePeer(name: string, publicKey: string, change: PeerChange): ToolRun {
  const { endpoint, keepaliveSeconds, presharedKey } = change;
  const args = ['set', name, 'peer', checkedKey(publicKey)];
  if (endpoint !== undefined) args.push('endpoint', formatEndpoint(endpoint));
  if (keepaliveSeconds !== undefined) args.push('persistent-keepalive', String(keepaliveSeconds));
  if (presharedKey === undefined) return { tool: 'wg', args };
  if (presharedKey !== null) checkedKey(presharedKey);
  // An empty file takes the key away.
  args.push('preshared-key', presharedKey === null ? '/dev/null' : '/dev/stdin');
  return { tool: 'wg', args, input: presharedKey === null ? '' : `${presharedKey}\n`, secret: true };
}

/**
 * The run that begins to shake hands with a key that nobody holds. A peer that is there already goes first: only a new
 * one sends at once; from then on WireGuard repeats every 5 s (its REKEY_TIMEOUT), whatever the keepalive says.
 */
export function startProbe(name: string, publicKey: string, endpoint: Endpoint): ToolRun {
  const peer = ['peer', checkedKey(publicKey)];
  const begin = [...peer, 'endpoint', formatEndpoint(endpoint), 'persistent-keepalive', '1', 'allowed-ips', ''];
  return { tool: 'wg', args: ['set', name, ...peer, 'remove', ...begin] };
}

/** An endpoint as `wg` reads it. @throws `TUNNEL_FAILED` for a name: `wg` would wait for its resolution. */
export function formatEndpoint(endpoint: Endpoint): string {
  const { host, port } = endpoint;
  if (isIP(host) === 0 || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw failure('TUNNEL_FAILED', 'an endpoint is an IP address and a UDP port', { details: { host, port } });
  }
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

function runs(name: string, changes: readonly { weight: number; args: readonly string[] }[]): ToolRun[] {
  const made: { weight: number; count: number; args: string[] }[] = [];
  for (const change of changes) {
    const last = made.at(-1);
    if (last && last.count < PEERS_A_RUN && last.weight + change.weight <= ALLOWED_IPS_A_RUN) {
      last.args.push(...change.args);
      last.count += 1;
      last.weight += change.weight;
    } else made.push({ weight: change.weight, count: 1, args: ['set', name, ...change.args] });
  }
  return made.map(({ args }) => ({ tool: 'wg', args }));
}

function readPeer(fields: readonly string[]): TunnelPeerState {
  const [publicKey = '', presharedKey = '', endpoint = '', allowedIps = '', handshake, received, sent, keepalive] =
    fields;
  if (fields.length !== 8 || !isWireguardKey(publicKey) || !isNone(presharedKey, isWireguardKey)) throw strange();
  const seconds = readNumber(handshake, Number.MAX_SAFE_INTEGER / 1000);
  return {
    publicKey,
    endpoint: endpoint === '(none)' ? null : readEndpoint(endpoint),
    allowedIps: allowedIps === '(none)' ? [] : allowedIps.split(',').map(canonicalCidr),
    handshakeAt: seconds === 0 ? null : seconds * 1000,
    received: readNumber(received, Number.MAX_SAFE_INTEGER),
    sent: readNumber(sent, Number.MAX_SAFE_INTEGER),
    keepaliveSeconds: keepalive === 'off' ? 0 : readNumber(keepalive, 65_535),
  };
}

function readEndpoint(text: string): Endpoint {
  const colon = text.lastIndexOf(':');
  const host = text.slice(0, colon).replace(/^\[(.*)\]$/, '$1');
  if (colon < 0 || isIP(host) === 0) throw strange();
  return { host, port: readNumber(text.slice(colon + 1), 65_535) };
}

function readNumber(text: string | undefined, max: number): number {
  const value = text !== undefined && /^\d{1,20}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value <= max)) throw strange();
  return value;
}

function isNone(text: string, is: (text: string) => boolean): boolean {
  return text === '(none)' || is(text);
}

function checkedKey(key: string): string {
  if (!isWireguardKey(key)) throw failure('TUNNEL_FAILED', 'this is not a WireGuard key');
  return key;
}

function strange(): Error {
  return failure('TUNNEL_FAILED', 'wg printed what this version does not understand');
}
