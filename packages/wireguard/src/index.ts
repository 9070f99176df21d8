/**
 * WireGuard interfaces of this machine by its own tools (`wg`, `ip`, `nft`): brought in line step by step, never bounced,
 * adopted by the next process after a crash.
 *
 * @example
 * ```ts
 * import { createMachineTunnels, createWireguardKey } from '@moat/wireguard';
 * const tunnels = await createMachineTunnels({ directory: '/var/lib/moat/tunnels' });
 * const { privateKey } = createWireguardKey();
 * await tunnels.apply({
 *   name: 'moat0', namespace: null, privateKey, port: 51_820, mtu: 1420,
 *   addresses: ['10.77.0.2/32'], routes: ['10.77.0.0/16'], peers: [], rules: { chains: '' },
 * });
 * ```
 * @packageDocumentation
 */
export { createMemoryAir, type Air, type AirListener, type AirOptions, type AirPacket } from './air.memory.ts';
export { createMachineTunnels, type MachineTunnelsOptions } from './create-machine-tunnels.ts';
export { WIREGUARD_ERROR_CODES, type WireguardErrorCode } from './errors.ts';
export { createPresharedKey, createWireguardKey, isWireguardKey, publicKeyOf, type WireguardKey } from './keys.ts';
export { createMemoryTunnels, type MemoryTunnels, type MemoryTunnelsOptions } from './machine.memory.ts';
