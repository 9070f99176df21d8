/** Yamux frames that cost the sender 12 bytes each. */
import assert from 'node:assert/strict';
import net from 'node:net';
import { test } from 'node:test';
import type { Connection } from '@libp2p/interface';
import { bareHost } from './host.fixture.ts';
import { soon, until } from './world.fixture.ts';

/** What Yamux hides. */
interface Muxer {
  sendPing(id: number, flag: number): void;
  sendFrame(header: { type: number; flag: number; streamID: number; length: number }): void;
}

for (const what of ['pings', 'streams'] as const) {
  test(`a peer that floods ${what} and reads no answer is cut off`, async () => {
    const connections: Connection[] = [];
    const victim = await bareHost(['/ip4/127.0.0.1/tcp/0'], {
      onConnection: (connection) => void connections.push(connection),
    });
    const attacker = await bareHost();
    const [address = ''] = victim.libp2p.getMultiaddrs().map(String);
    const port = Number(/\/tcp\/(\d+)/.exec(address)?.[1]);
    const sockets: net.Socket[] = [];
    const proxy = net.createServer((near) => {
      const far = net.connect(port, '127.0.0.1');
      sockets.push(near, far);
      for (const socket of [near, far]) socket.on('error', () => undefined);
      near.pipe(far).pipe(near);
    });
    await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
    const through = address.replace(`/tcp/${port}`, `/tcp/${(proxy.address() as net.AddressInfo).port}`);
    const outbound = await attacker.dial(through, soon());
    await until(() => connections.length === 1, 'connected');
    const [connection] = connections;
    sockets[1]?.unpipe();
    const { muxer } = outbound as unknown as { muxer: Muxer };
    const stands = (): boolean => connection?.status === 'open' && outbound.status === 'open';
    for (let sent = 0; sent < 600_000 && stands();) {
      for (let i = 0; i < 5000; i++, sent++) {
        if (what === 'pings') muxer.sendPing(sent, 1);
        else muxer.sendFrame({ type: 1, flag: 1, streamID: 1001 + 2 * sent, length: 0 });
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    assert.notEqual(connection?.status, 'open');
    for (const socket of sockets) socket.destroy();
    proxy.close();
    await Promise.all([victim.libp2p.stop(), attacker.libp2p.stop()]);
  });
}
