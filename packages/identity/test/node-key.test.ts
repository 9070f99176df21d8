import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { chmod, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { inspect } from 'node:util';
import { isMoatError, isPeerId, verifySignature } from '@moat/core';
import { createNodeKey, loadOrCreateNodeKey, parseNodeKey, toLibp2pPrivateKey } from '@moat/identity';
import fc from 'fast-check';
import { temporaryDirectory } from './temporary-directory.ts';

describe('node key', () => {
  it('comes back from its export as the same identity', () => {
    const key = createNodeKey();
    const again = parseNodeKey(key.export());
    assert.ok(isPeerId(key.peerId));
    assert.equal(again.peerId, key.peerId);
    const bytes = Buffer.from('hello');
    const signature = again.signer.sign('moat/test/1', bytes);
    assert.ok(verifySignature('moat/test/1', bytes, signature, key.signer.publicKey));
    assert.ok(!verifySignature('moat/other/1', bytes, signature, key.signer.publicKey));
  });

  it('is the same peer to libp2p', async () => {
    for (let i = 0; i < 20; i++) {
      const key = createNodeKey();
      const converted = await toLibp2pPrivateKey(key);
      assert.equal(converted.type, 'Ed25519');
      assert.equal(converted.publicKey.toString(), key.peerId);
    }
  });

  it('does not show its private half when printed', () => {
    const key = createNodeKey();
    const secret = Buffer.from(key.export()).toString().split('\n')[1] ?? '';
    assert.ok(!inspect(key, { depth: 9, showHidden: true }).includes(secret));
    assert.ok(!JSON.stringify(key).includes(secret));
  });

  it('refuses other kinds of keys', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    assert.throws(
      () => parseNodeKey(privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()),
      (error) => isMoatError(error, 'KEY_FILE_INVALID'),
    );
    const locked = generateKeyPairSync('ed25519', {
      publicKeyEncoding: { format: 'pem', type: 'spki' },
      privateKeyEncoding: { format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'x' },
    });
    assert.throws(
      () => parseNodeKey(locked.privateKey),
      (error) => isMoatError(error, 'KEY_FILE_INVALID'),
    );
  });

  it('ends random and truncated bytes in a coded error', () => {
    const pem = createNodeKey().export();
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 300 }),
          fc.nat(pem.length - 30).map((end) => pem.slice(0, end)),
        ),
        (bytes) => {
          assert.throws(
            () => parseNodeKey(bytes),
            (error) => isMoatError(error, 'KEY_FILE_INVALID'),
          );
        },
      ),
    );
  });
});

describe('node key file', () => {
  it('is made once, 0600, and found again', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'state', 'node.key');
    const first = await loadOrCreateNodeKey(path);
    const second = await loadOrCreateNodeKey(path);
    assert.equal(second.peerId, first.peerId);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.deepEqual(await readdir(join(directory.path, 'state')), ['node.key']);
  });

  it('is one key when several start at once', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'node.key');
    const keys = await Promise.all(Array.from({ length: 8 }, () => loadOrCreateNodeKey(path)));
    assert.equal(new Set(keys.map((key) => key.peerId)).size, 1);
    assert.deepEqual(await readdir(directory.path), ['node.key']);
  });

  it('is refused when others may read it, and never replaced when damaged', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'node.key');
    await loadOrCreateNodeKey(path);
    for (const mode of [0o640, 0o604, 0o620, 0o666]) {
      await chmod(path, mode);
      await assert.rejects(loadOrCreateNodeKey(path), (error) => isMoatError(error, 'KEY_FILE_EXPOSED'));
    }
    await chmod(path, 0o600);
    await writeFile(path, 'damaged');
    await assert.rejects(loadOrCreateNodeKey(path), (error) => isMoatError(error, 'KEY_FILE_INVALID'));
  });
});
