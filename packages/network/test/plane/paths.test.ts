import assert from 'node:assert/strict';
import { test } from 'node:test';

import { both, twoBehind } from './paths-world.ts';
import type { Router } from './udp-world.ts';

const ROUTERS: readonly Router[] = ['none', 'eim', 'cone', 'edm', 'blocked'];

for (const a of ROUTERS) {
  for (const b of ROUTERS) {
    const isDirect = !(
      a === 'blocked' ||
      b === 'blocked' ||
      (a === 'edm' && b === 'edm') ||
      (a === 'edm' && b === 'eim') ||
      (a === 'eim' && b === 'edm')
    );
    test(`${a} with ${b}: ${isDirect ? 'direct within a second' : 'over a forwarder or the link'}`, async () => {
      const { world, one, two } = await twoBehind(a, b);
      const forwarder = world.forwarder('203.0.113.3');
      one.forwarders = two.forwarders = [forwarder];
      one.tunnels.send(two.tunnels.publicKey);
      if (isDirect) {
        const tookMs = await world.until(() => both(one, two, 'direct'), 1_000);
        assert.ok(tookMs < 1_000);
      } else if (a === 'blocked' || b === 'blocked') {
        await world.run(6_000);
        assert.ok(both(one, two, 'riding'));
      } else {
        const tookMs = await world.until(() => both(one, two, 'forwarded'), 3_000);
        assert.ok(tookMs < 3_000);
      }
      const before = two.arrived;
      one.tunnels.send(two.tunnels.publicKey);
      two.tunnels.send(one.tunnels.publicKey);
      await world.run(200);
      assert.equal(two.arrived, before + 1);
      assert.ok(one.arrived > 0);
      assert.equal(one.tunnels.probes + two.tunnels.probes, 0);
      await world.stop();
    });
  }
}
