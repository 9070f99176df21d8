import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isConnectionSpecific, isTrailerAllowed } from '../src/index.ts';

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
