/**
 * The fourth pass: gateways and anchors named by domain are looked up, once; the next version pins what was
 * found. The lookup itself (https, `/.well-known/moat`) is the caller's, and so is asking for confirmation.
 */
import { errorCode, parseKey } from '@moat/core';
import { CONTRACT_LIMITS } from '../limits.ts';
import { peerIdOfMultiaddr } from '../multiaddr.ts';
import type { Contract, GatewayPin } from '../schema.ts';
import { anchorsToResolve, gatewaysToResolve } from './carry-over.ts';
import type { Diagnostic, FieldPath } from './diagnostic.ts';
import type { DeploymentFile } from './file.ts';
import { Findings } from './findings.ts';
import type { ParsedDeploymentFile } from './parse.ts';

/** How a domain is asked who it is; both may reject. */
export interface OnlineResolvers {
  gateway(domain: string, signal: AbortSignal): Promise<GatewayPin>;
  /** Multiaddrs that end in `/p2p/<PeerId>`. */
  anchor(host: string, signal: AbortSignal): Promise<readonly string[]>;
}

/** Pins for `buildContract`, by the name they were asked under. */
export interface OnlineResult {
  readonly gateways: ReadonlyMap<string, GatewayPin>;
  readonly anchors: ReadonlyMap<string, readonly string[]>;
  readonly diagnostics: readonly Diagnostic[];
}

export interface OnlineOptions {
  readonly fileName: string;
  readonly current: Contract | null;
  /** Ends all lookups: the deadline is the caller's. */
  readonly signal: AbortSignal;
}

/** Lookups that run at once; the others wait. */
const MAX_CONCURRENT = 8;

/** Looks up each domain the current version has no pin for, once. Never rejects: what failed is a diagnostic. */
export async function resolveOnline(
  resolvers: OnlineResolvers,
  { file, locate }: Pick<ParsedDeploymentFile, 'locate'> & { readonly file: DeploymentFile },
  { fileName, current, signal }: OnlineOptions,
): Promise<OnlineResult> {
  const findings = new Findings(fileName, { locate, locateKey: locate }, 'online');
  const gateways = new Map<string, GatewayPin>();
  const anchors = new Map<string, readonly string[]>();
  const tasks = [
    ...gatewaysToResolve(file, current).map((domain) => async (): Promise<void> => {
      const pin = await attempt(async () => checkedPin(domain, await resolvers.gateway(domain, signal)));
      if (!('failed' in pin)) gateways.set(domain, pin);
      else findings.add(gatewayPath(file, domain), unresolved('GATEWAY_UNRESOLVED', `gateway ${domain}`, pin.failed));
    }),
    ...anchorsToResolve(file, current).map((host) => async (): Promise<void> => {
      const found = await attempt(async () => checkedPeers(await resolvers.anchor(host, signal)));
      if (!('failed' in found)) anchors.set(host, found);
      else
        findings.add(
          ['anchors', file.anchors.indexOf(host)],
          unresolved('ANCHOR_UNRESOLVED', `anchor ${host}`, found.failed),
        );
    }),
  ];
  const run = async (): Promise<void> => {
    for (let task = tasks.shift(); task !== undefined; task = tasks.shift()) await task();
  };
  await Promise.all(Array.from({ length: MAX_CONCURRENT }, run));
  return { gateways, anchors, diagnostics: findings.list() };
}

async function attempt<T extends object>(work: () => Promise<T>): Promise<T | { readonly failed: string }> {
  try {
    return await work();
  } catch (error) {
    return { failed: error instanceof Error && error.message !== '' ? error.message : errorCode(error) };
  }
}

function unresolved<C extends string>(
  code: C,
  what: string,
  reason: string,
): { code: C; message: string; hint: string } {
  return {
    code,
    message: `${what} cannot be resolved: ${reason}`,
    hint: 'nothing was changed; try again, or pin it in the file',
  };
}

/** What a domain answers is input from outside: only its own name and addresses that name a peer are taken. */
function checkedPin(domain: string, { domain: named, peers, box }: GatewayPin): GatewayPin {
  if (named !== domain) throw new Error(`it calls itself ${named.slice(0, 253)}`);
  if (box !== undefined) parseKey('x25519', box);
  return { domain, peers: checkedPeers(peers), ...(box === undefined ? {} : { box }) };
}

function checkedPeers(peers: readonly string[]): readonly string[] {
  if (!Array.isArray(peers) || peers.length === 0) throw new Error('it names no address');
  if (peers.length > CONTRACT_LIMITS.peers) throw new Error(`it names more than ${CONTRACT_LIMITS.peers} addresses`);
  for (const peer of peers as readonly string[]) {
    peerIdOfMultiaddr(peer);
    if (peer.split('/p2p/').length !== 2) throw new Error('it names an address behind a relay');
  }
  return [...new Set(peers as readonly string[])];
}

function gatewayPath(file: DeploymentFile, domain: string): FieldPath {
  for (const { name, gateways } of file.publish) {
    const i = gateways.indexOf(domain);
    if (i >= 0) return ['publish', name, 'gateway', i];
  }
  return ['publish'];
}
