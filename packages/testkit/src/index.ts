/**
 * Twins of the machine for tests: a network of peers in memory, a clock that is stepped, a leak check. Development only.
 *
 * @example
 * ```ts
 * import { checkLeaks, createManualClock, createMemoryNetwork } from '@moat/testkit';
 *
 * test('two peers meet', async () => {
 *   await using leaks = checkLeaks();
 *   const network = createMemoryNetwork();
 *   const alice = network.join(alicePeer);
 *   const bob = network.join(bobPeer);
 *   bob.handle('/moat/echo/1', async (stream) => stream.write(await stream.read(signal), signal), { audience: 'admitted' });
 *   const stream = await alice.open(await alice.connect(bobPeer, signal), '/moat/echo/1', signal);
 * });
 * ```
 * @packageDocumentation
 */
export { freePort, freePorts } from './free-port.ts';
export {
  FLAG,
  FRAME,
  HTTP2_ERROR,
  Http2Wire,
  hpackNumber,
  hpackText,
  http2Fields,
  http2Frame,
  http2Request,
  uint32,
  type Http2Frame,
} from './http2-wire.ts';
export { checkLeaks, type LeakCheck } from './leak-check.ts';
export { createManualClock, type ManualClock } from './manual-clock.ts';
export { createChannelPair, type MemoryChannelOptions, type MemoryChannelPair } from './memory-channel.ts';
export { createMemoryNetwork, type MemoryConnectOptions, type MemoryNetwork } from './memory-network.ts';
export { wireguardInitiation } from './wireguard-initiation.ts';
