import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import type { Context } from '../src/context.ts';
import { askGateway } from '../src/deployment/ask-gateway.ts';

const context = { io: { env: {} } } as unknown as Context;

test('a gateway that is not there, or speaks no TLS, is unreachable and may be asked again', async () => {
  const server = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const domain = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const refused = (reason: RegExp): Promise<void> =>
    assert.rejects(askGateway(context, domain, AbortSignal.timeout(5000)), (error) => {
      assert.ok(isMoatError(error, 'GATEWAY_UNREACHABLE'), String(error));
      assert.match(error.message, reason);
      assert.ok(error.retryable);
      return true;
    });
  await refused(/does not answer as a gateway/);
  await new Promise((resolve) => server.close(resolve));
  await refused(/nothing listens there \(ECONNREFUSED\)/);
});
