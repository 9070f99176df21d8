import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseGatewayConfig } from '../../src/config.ts';
import { countWorkers, shareLimits } from '../../src/workers/shares.ts';

const config = (more: string): ReturnType<typeof parseGatewayConfig> =>
  parseGatewayConfig(`version: 1\ndomain: localhost\ntls: local\n${more}`, 'gateway.yaml', { MOAT_HOME: '/nowhere' });

test('auto is one a core, at most eight, at least one', () => {
  assert.deepEqual(
    [0, 1, 2, 8, 64].map((cores) => countWorkers('auto', cores)),
    [1, 1, 2, 8, 8],
  );
  assert.equal(countWorkers(3, 64), 3);
});

test('gateway.yaml takes auto or a number from 1 to 8', () => {
  assert.equal(config('').workers, 1);
  assert.equal(config('workers: auto\n').workers, 'auto');
  assert.equal(config('workers: 4\n').workers, 4);
  for (const wrong of ['0', '9', '1.5', 'all', '-1']) {
    assert.throws(() => config(`workers: ${wrong}\n`), {
      code: 'GATEWAY_CONFIG_INVALID',
      message: /gateway\.yaml:4:10 workers: auto, or a number from 1 to 8/,
    });
  }
});

test('bounds of all clients are divided, those of one client are whole', () => {
  const { limits } = config('limits: { connections: 1001, requests: 10, requestsPerDeployment: 1, rate: 100/s }\n');
  const share = shareLimits(limits, 4);
  assert.deepEqual(
    [share.connections, share.requests, share.requestsPerDeployment, share.requestsPerSecond],
    [251, 3, 1, 100],
  );
  assert.equal(share.connectionsPerClient, limits.connectionsPerClient);
  assert.deepEqual(shareLimits(limits, 1), limits);
});
