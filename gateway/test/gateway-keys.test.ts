/** A gateway's key is replaced in two steps, each on disk before it counts, and followed by who pinned any earlier one. */
import assert from 'node:assert/strict';
import { copyFile, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { followGatewayPeers } from '@moat/contract';
import { GatewayKeys } from '../src/gateway-keys.ts';

const DOMAIN = 'apps.example.com';

async function directory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'moat-keys-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

const load = (path: string): Promise<GatewayKeys> => GatewayKeys.load({ directory: path, domain: DOMAIN });

test('first both, then the next alone; who pinned the first follows to whatever stands', async () => {
  await using temporary = await directory();
  const first = await load(temporary.path);
  const before = first.key.peerId;
  assert.equal(first.next, undefined);
  await assert.rejects(first.finish(), { code: 'ROTATION_NOT_BEGUN' });
  const next = await first.begin();
  assert.equal(await first.begin(), next, 'again changes nothing');
  assert.equal(first.lists.length, 1);
  assert.deepEqual(followGatewayPeers(DOMAIN, [before], first.lists), [before, next].sort());
  // A crash or a restart between the steps: the old key answers, the next one waits.
  const between = await load(temporary.path);
  assert.equal(between.key.peerId, before);
  assert.equal(between.next, next);
  assert.equal(await between.begin(), next);
  assert.equal(await between.finish(), next);
  assert.equal(between.key.peerId, before, 'the process that runs keeps its key');
  // Asked once more before it has started again: a list that the old key alone signs would follow from nothing.
  await assert.rejects(between.begin(), { code: 'GATEWAY_STOPPING' });
  assert.deepEqual(followGatewayPeers(DOMAIN, [before], between.lists), [next]);
  const after = await load(temporary.path);
  assert.equal(after.key.peerId, next);
  assert.equal(after.next, undefined);
  assert.deepEqual(followGatewayPeers(DOMAIN, [before], after.lists), [next]);
  assert.deepEqual(followGatewayPeers(DOMAIN, [before, next], after.lists), [next]);
  await assert.rejects(after.finish(), { code: 'ROTATION_NOT_BEGUN' });
  const third = await after.begin();
  await after.finish();
  assert.deepEqual(followGatewayPeers(DOMAIN, [before], after.lists), [third]);
  for (const file of ['gateway.key', 'gateway-next.key', 'gateway-peers.json']) {
    assert.equal((await stat(join(temporary.path, file))).mode & 0o077, 0, file);
  }
});

test('a crash before the list is out changes nothing, one after it is finished on the next load', async () => {
  await using temporary = await directory();
  const { path } = temporary;
  const keys = await load(path);
  const before = keys.key.peerId;
  await keys.begin();
  await rm(join(path, 'gateway-peers.json'));
  const half = await load(path);
  assert.equal(half.key.peerId, before);
  assert.equal(half.next, undefined, 'a key without its list is none yet');
  const next = await half.begin();
  await copyFile(join(path, 'gateway.key'), join(path, 'old.key'));
  await half.finish();
  // The list is out and the key file not renamed: that is the moment of a crash.
  const loaded = await load(path);
  assert.equal(loaded.key.peerId, next);
  await assert.rejects(stat(join(path, 'gateway-next.key')));
});
