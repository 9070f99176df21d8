import assert from 'node:assert/strict';
import { test } from 'node:test';
import { allFields, isConnectionSpecific, isTrailerAllowed } from '../src/index.ts';

test('fields of one connection go no further', () => {
  for (const name of ['connection', 'keep-alive', 'te', 'transfer-encoding', 'upgrade', 'http2-settings']) {
    assert.equal(isConnectionSpecific(name), true, name);
    assert.equal(isTrailerAllowed(name), false, name);
  }
  for (const name of ['host', 'content-length', 'set-cookie', 'trailer', 'x-a']) {
    assert.equal(isConnectionSpecific(name), false, name);
  }
});

test('a trailer frames, routes and authenticates nothing', () => {
  const refused = ['content-length', 'host', 'cookie', 'authorization', 'x-forwarded-for', 'x-real-ip', 'a_b', 'a.b'];
  for (const name of refused) assert.equal(isTrailerAllowed(name), false, name);
  for (const name of ['grpc-status', 'x-sum', 'server-timing', 'digest']) {
    assert.equal(isTrailerAllowed(name), true, name);
  }
});

test('all fields of a request are those that repeat, then those that vary', () => {
  const fields = [['a', '1']] as const;
  assert.equal(allFields({ fields }), fields);
  assert.equal(allFields({ fields, more: [] }), fields);
  assert.deepEqual(allFields({ fields, more: [['b', '2']] }), [
    ['a', '1'],
    ['b', '2'],
  ]);
});
