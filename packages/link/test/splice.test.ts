import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { checkLeaks } from '@moat/testkit';

import { linkCompliance } from './compliance.ts';
import { BOB, nextLink } from './linked.ts';
import { Recorder, turns } from './recorder.ts';
import { createSpliced, linkSpliced } from './spliced.ts';

const tcp = { deployment: 'q7f3aaaaaaaaaaaaaaaaaaaaaa', service: 'db', kind: 'tcp' } as const;
const soon = (): AbortSignal => AbortSignal.timeout(10_000);

linkCompliance('over two sockets that an anchor joins', async () => linkSpliced(await createSpliced()), {
  transferBytes: 64 * 2 ** 20,
});

describe('spliced links', () => {
  test('stand where the connection is relayed, and say so', async () => {
    await using leaks = checkLeaks();
    await using machines = await createSpliced();
    const far = nextLink(machines.bob);
    const link = await machines.alice.connect(BOB, soon());
    assert.equal(link.path, 'spliced');
    assert.equal((await far).path, 'spliced');
    const client = new Recorder(link.open(tcp));
    client.stream.write(Buffer.from('hello'));
    client.stream.end();
    assert.equal(await client.closed, undefined);
    assert.equal(client.text, 'hello');
    assert.ok(leaks);
  });

  test('are made when the side that accepted the connection asks', async () => {
    await using machines = await createSpliced();
    const link = await machines.bob.connect('12D3KooWAlice', soon());
    assert.equal(link.path, 'spliced');
  });

  test('go on over the overlay when the anchor goes, under a running stream', async () => {
    await using machines = await createSpliced();
    const link = await machines.alice.connect(BOB, soon());
    const client = new Recorder(link.open(tcp));
    await client.head;
    await machines.anchor.stop();
    client.stream.write(Buffer.from('still'));
    client.stream.end();
    assert.equal(await client.closed, undefined);
    assert.equal(client.text, 'still');
    assert.equal(link.path, 'relayed');
    assert.equal(machines.alice.get(BOB), link);
  });

  test('use no anchor that only one of the two knows', async () => {
    await using machines = await createSpliced({ alice: { directMs: 300 } });
    machines.anchors.bob.pop();
    assert.equal((await machines.alice.connect(BOB, soon())).path, 'relayed');
  });

  test('take over from the overlay when they stand late', async () => {
    await using machines = await createSpliced({ alice: { directMs: 0 } });
    const link = await machines.alice.connect(BOB, soon());
    while (link.path !== 'spliced') await turns(1);
    assert.equal(machines.alice.get(BOB), link);
  });
});
