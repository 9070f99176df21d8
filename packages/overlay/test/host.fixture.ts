/** libp2p as a peer runs it that follows none of our rules: no gate, no hello. */
import { silentLogger, systemClock } from '@moat/core';
import { createNodeKey, toLibp2pPrivateKey, type NodeKey } from '@moat/identity';
import { createHost, type Host, type HostDeps } from '../src/host.ts';
import { DEFAULT_LIMITS } from '../src/limits.ts';

export interface BareHost extends Host, AsyncDisposable {
  readonly key: NodeKey;
}

export async function bareHost(
  listen: readonly string[] = [],
  heard: Partial<Pick<HostDeps, 'onConnection' | 'onIdentified'>> = {},
): Promise<BareHost> {
  const key = createNodeKey();
  const host = await createHost(
    {
      logger: silentLogger,
      clock: systemClock,
      privateKey: await toLibp2pPrivateKey(key),
      gate: () => Promise.resolve(),
      prepare: () => Promise.resolve(),
      onConnection: () => undefined,
      onNeighbour: () => undefined,
      isInside: () => false,
      onIdentified: () => undefined,
      ...heard,
    },
    { listen, announce: [], mdns: false, limits: DEFAULT_LIMITS },
  );
  return { ...host, key, [Symbol.asyncDispose]: async () => host.libp2p.stop() };
}
