import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { test } from 'node:test';
import { checkPort, freePort } from '../../src/wireguard/udp-ports.ts';

test('a port of another program or interface is refused by its code, and a free one is found beside it', async () => {
  const socket = createSocket('udp4').bind(0);
  await once(socket, 'listening');
  const { port } = socket.address();
  await assert.rejects(checkPort(port, new Set()), { code: 'WIREGUARD_PORT_TAKEN' });
  socket.close();
  await once(socket, 'close');
  await checkPort(port, new Set());
  await assert.rejects(checkPort(port, new Set([port])), { code: 'WIREGUARD_PORT_TAKEN' });
  const first = await freePort(new Set());
  assert.notEqual(await freePort(new Set([first])), first);
});
