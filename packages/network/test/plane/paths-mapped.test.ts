import assert from 'node:assert/strict';
import { test } from 'node:test';

import { both, twoBehind } from './paths-world.ts';

const PORT = 51_820;

test('a port that the router opens later lets two symmetric routers meet at once', async () => {
  for (const leads of [true, false]) {
    const { world, one, two } = await twoBehind('edm', 'edm');
    one.tunnels.send(two.tunnels.publicKey);
    await world.run(5_000);
    assert.ok(both(one, two, 'riding'));
    // Which of the two it is decides who begins.
    const mapped = leads ? one : two;
    const { router } = mapped.host;
    assert.ok(router);
    router.open(PORT, mapped.host, PORT);
    mapped.mapper.grant(PORT, { host: router.address, port: PORT });
    await world.until(() => both(one, two, 'direct'), 3_500);
    const checking = mapped.paths.netcheck(AbortSignal.timeout(10_000));
    await world.run(200);
    assert.equal((await checking).mapped?.protocol, 'upnp');
    await world.stop();
  }
});

test('the router is asked when paths begin and when the network changes, and told only when the interface goes', async () => {
  const { world, one } = await twoBehind('eim', 'eim');
  assert.equal(one.mapper.asked, 1);
  one.addresses = ['192.168.7.7'];
  await world.run(6_000, 100);
  assert.equal(one.mapper.asked, 2);
  await one.restart();
  assert.deepEqual([one.mapper.asked, one.mapper.givenBack], [3, 0]);
  await one.paths.stop();
  await one.paths.giveBack();
  assert.equal(one.mapper.givenBack, 1);
  await world.stop();
});
