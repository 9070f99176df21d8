/** What lies between the machines of memory twins: carries handshakes and packets, sees no content. For tests. */
import type { Endpoint } from '@moat/core';

/** One UDP packet of WireGuard. */
export interface AirPacket {
  readonly kind: 'initiation' | 'data';
  /** Public key it is meant for: what mac1 of a real initiation is made with. */
  readonly to: string;
  /** Public key of the interface that sent it. */
  readonly from: string;
}

/** True when the packet was answered (a handshake) or taken (data). */
export type AirListener = (packet: AirPacket, source: Endpoint) => boolean;

export interface AirOptions {
  /**
   * What stands between: the source that `target` sees, or null when the packet is lost.
   * @defaultValue every packet arrives, from where it was sent
   */
  readonly route?: (source: Endpoint, target: Endpoint) => Endpoint | null;
}

/** One address space for all twins that were given it. */
export interface Air {
  /** A UDP socket at `endpoint` of the machine at `host`; returns the way to close it. One socket a place. */
  listen(host: string, endpoint: Endpoint, listener: AirListener): () => void;
  send(packet: AirPacket, source: Endpoint, target: Endpoint): boolean;
}

/** @throws nothing; packets to nobody are lost. */
export function createMemoryAir(options: AirOptions = {}): Air {
  const sockets = new Map<string, AirListener>();
  return {
    listen(host, endpoint, listener) {
      const key = placeOn(host, endpoint);
      sockets.set(key, listener);
      return () => {
        if (sockets.get(key) === listener) sockets.delete(key);
      };
    },
    send(packet, source, target) {
      const seen = isLoopback(target) || options.route === undefined ? source : options.route(source, target);
      if (seen === null) return false;
      return sockets.get(placeOn(source.host, target))?.(packet, seen) ?? false;
    },
  };
}

/** Every machine has loopback addresses of its own. */
function placeOn(host: string, endpoint: Endpoint): string {
  return `${isLoopback(endpoint) ? host : ''}|${endpoint.host}|${endpoint.port}`;
}

function isLoopback(endpoint: Endpoint): boolean {
  return endpoint.host.startsWith('127.') || endpoint.host === '::1';
}
