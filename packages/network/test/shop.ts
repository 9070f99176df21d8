/** A small deployment and its machines in one process; for tests. */
import { peerIdFromPublicKey, silentLogger, systemClock, type Clock, type PeerId } from '@moat/core';
import { buildView, type Contract, type ContractView } from '@moat/contract';
import { ExposedTable, createNetwork, type NetworkOptions, type PrivateNetwork } from '../src/index.ts';
import type { MemoryHub } from './memory-links.ts';

export const DEPLOYMENT = 'abcdefghijklmnopqrstuvwx23';

export function peerOf(index: number): PeerId {
  return peerIdFromPublicKey(new Uint8Array(32).fill(index));
}

export const PEERS = {
  web1: peerOf(1),
  web2: peerOf(2),
  db1: peerOf(3),
  db2: peerOf(4),
  gateway: peerOf(9),
  stranger: peerOf(10),
};

/** web on web-1 and web-2, db on db-1 and db-2; web may reach db, db-1 may reach web; web is published. */
export function contract(changes: Partial<Contract> = {}): Contract {
  const member = (name: string, node: PeerId, tag: string, last: number): Contract['members'][number] => ({
    name,
    node,
    ipv4: `10.77.0.${last}`,
    tags: [tag],
  });
  return {
    type: 'moat/contract/1',
    deployment: DEPLOYMENT,
    name: 'shop',
    version: 0,
    owners: { threshold: 1, keys: [] },
    anchors: [],
    network: { ipv4: '10.77.0.0/16', plane: 'rootless' },
    members: [
      { ...member('web-1', PEERS.web1, 'web', 2), keeper: true },
      member('web-2', PEERS.web2, 'web', 3),
      member('db-1', PEERS.db1, 'db', 4),
      member('db-2', PEERS.db2, 'db', 5),
    ],
    services: [
      { name: 'web', on: ['tag:web'], port: 8080, target: '127.0.0.1:3000', protocol: 'http' },
      { name: 'db', on: ['tag:db'], port: 5432, target: '127.0.0.1:5432', protocol: 'tcp' },
    ],
    access: [
      { from: ['tag:web'], to: ['db'] },
      { from: ['db-1'], to: ['web'] },
    ],
    publish: [
      {
        name: 'shop',
        salt: 'AAAAAAAAAAAAAAAAAAAAAA',
        service: 'web',
        tls: 'terminate',
        gateway: { domain: 'apps.example', peers: [`/dns4/apps.example/tcp/4410/p2p/${PEERS.gateway}`] },
      },
    ],
    state: 'active',
    ...changes,
  };
}

export function viewOf(changes: Partial<Contract> = {}, now: number = Date.now()): ContractView {
  return buildView(contract(changes), [], now);
}

/** The contract with a service's target moved to a port of this machine. */
export function targeting(ports: { readonly web?: number; readonly db?: number }): Partial<Contract> {
  return {
    services: contract().services.map((service) => {
      const port = ports[service.name as 'web' | 'db'];
      return port === undefined ? service : { ...service, target: `127.0.0.1:${port}` };
    }),
  };
}

export interface Machine extends AsyncDisposable {
  readonly network: PrivateNetwork;
  readonly exposed: ExposedTable;
  expose(port: number, options?: { readonly public?: boolean }): void;
}

export function machine(
  hub: MemoryHub,
  self: string,
  peer: PeerId,
  options: Partial<NetworkOptions> & { readonly clock?: Clock } = {},
): Machine {
  const { clock = systemClock, ...rest } = options;
  const exposed = new ExposedTable({ ownSockets: () => network.sockets() });
  const links = hub.join(peer, (stream) => network.accept(stream));
  const network: PrivateNetwork = createNetwork(
    { links, logger: silentLogger, clock, random: () => 0.3 },
    { self, deployment: DEPLOYMENT, exposed, loopback: false, ...rest },
  );
  return {
    network,
    exposed,
    expose: (port, { public: isPublic = false } = {}) =>
      void exposed.add({ deployment: DEPLOYMENT, target: `127.0.0.1:${port}`, public: isPublic }),
    [Symbol.asyncDispose]: () => network.stop(),
  };
}
