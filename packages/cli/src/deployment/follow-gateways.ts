/**
 * Gateways change their keys. Whoever pinned one follows lists that the pinned PeerIds signed, without a question;
 * anything else leaves the pin as it is, and is said. Asking costs one request a gateway, and never fails an apply.
 */
import {
  followGatewayPeers,
  parseGatewayPeerLists,
  peerIdOfMultiaddr,
  type Contract,
  type DeploymentFile,
  type GatewayPin,
} from '@moat/contract';
import { errorCode, isMoatError, type PeerId } from '@moat/core';
import type { Context } from '../context.ts';
import { askGatewayWhole } from './ask-gateway.ts';

const TIMEOUT_MS = 3_000;
/** Gateways asked; a file with more follows the others when it changes them. */
const MAX_ASKED = 16;

/** New pins, by domain, of gateways that `file` names by domain and `current` pins otherwise. */
export async function followGateways(
  context: Context,
  file: DeploymentFile,
  current: Contract | null,
  askAt: ReadonlyMap<string, string> | undefined,
): Promise<ReadonlyMap<string, GatewayPin>> {
  const named = new Set(file.publish.flatMap(({ gateways }) => gateways.filter((one) => typeof one === 'string')));
  const pins = new Map((current?.publish ?? []).map(({ gateway }) => [gateway.domain, gateway]));
  const pinned = [...pins.values()].filter(({ domain }) => named.has(domain)).slice(0, MAX_ASKED);
  if (pinned.length === 0 || current === null) return new Map();
  const ports = await portsOf(context, current);
  const asked = pinned.map(async (pin) => {
    const at = askAt?.get(pin.domain) ?? ports.get(pin.domain) ?? pin.domain;
    return [pin.domain, await followOne(context, pin, at)] as const;
  });
  const found = await context.progress.during('asking gateways whether they changed their keys', Promise.all(asked));
  return new Map(found.flatMap(([domain, pin]) => (pin === undefined ? [] : [[domain, pin] as const])));
}

async function followOne(context: Context, pin: GatewayPin, at: string): Promise<GatewayPin | undefined> {
  const { io, progress, style } = context;
  const signal = AbortSignal.any([io.signal, AbortSignal.timeout(TIMEOUT_MS)]);
  const peersOf = ({ peers }: GatewayPin): PeerId[] => [...new Set(peers.map(peerIdOfMultiaddr))].sort();
  try {
    const { pin: answered, lists } = await askGatewayWhole(context, at, signal);
    const [before, now] = [peersOf(pin), peersOf(answered)];
    if (answered.domain !== pin.domain) return undefined;
    // No list signs the key for boxed secrets: who has only the domain must not have secrets boxed for themselves.
    if (answered.box !== pin.box && pin.box !== undefined) throw new Error('its key for boxed secrets is another');
    if (before.join() === now.join()) return undefined;
    const followed = followGatewayPeers(pin.domain, before, parseGatewayPeerLists(lists ?? []));
    if (followed.join() !== now.join()) throw new Error('the pinned key did not sign that');
    progress.say(`${style.ok} ${pin.domain} changed its key, as its pinned key signed; the new one is pinned`);
    return { ...pin, peers: answered.peers };
  } catch (error) {
    if (io.signal.aborted) throw error;
    const isAbsent = isMoatError(error, 'GATEWAY_UNREACHABLE') || errorCode(error) === 'ABORT_ERR';
    if (isAbsent || (error as Error).name === 'TimeoutError') return undefined;
    const reason = error instanceof Error ? error.message : errorCode(error);
    progress.say(
      `${style.attention} ${pin.domain} shows another identity than the pinned one: ${reason}. The pin stays; ask its operator before you write the new one into the file (gateway: { domain, peers, box })`,
    );
    return undefined;
  }
}

/** Where a gateway answers that is not on port 443, as far as its answers to publications say. */
async function portsOf({ agent }: Context, { deployment }: Contract): Promise<ReadonlyMap<string, string>> {
  const publications = await agent.publications().catch(() => []);
  return new Map(
    publications
      .filter((one) => one.deployment === deployment && one.url !== null)
      .map(({ gateway, url }): [string, string] => {
        const { port } = new URL(url ?? '');
        return [gateway, port === '' ? gateway : `${gateway}:${port}`];
      }),
  );
}
