import assert from 'node:assert/strict';
import { chmod, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createWireguardKey, loadOrCreateWireguardKey, parseWireguardKey, readWireguardKey } from '../src/index.ts';

test('a private key has the public half of RFC 7748 §6.1', () => {
  const text = (hex: string): string => Buffer.from(hex, 'hex').toString('base64');
  const bob = parseWireguardKey(`${text('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb')}\n`);
  assert.equal(bob.publicKey, text('de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f'));
});

test('a key that was made is clamped, so that it is shown as it stands in the file', () => {
  const bytes = Buffer.from(createWireguardKey().export(), 'base64');
  assert.equal(bytes.length, 32);
  assert.equal(bytes.readUInt8(0) & 7, 0);
  assert.equal(bytes.readUInt8(31) & 0xc0, 0x40);
});

test('a key that is printed or serialised shows only its public half', () => {
  const key = createWireguardKey();
  assert.ok(!JSON.stringify(key).includes(key.export()));
});

test('a file is made once, 0600, and refused when others may read it', async () => {
  const home = await mkdtemp(join(tmpdir(), 'moat-wireguard-key-'));
  const path = join(home, 'wireguard', 'one.key');
  try {
    assert.equal(await readWireguardKey(path), undefined);
    const [one, two] = await Promise.all([loadOrCreateWireguardKey(path), loadOrCreateWireguardKey(path)]);
    assert.equal(one.publicKey, two.publicKey);
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    await chmod(path, 0o640);
    await assert.rejects(readWireguardKey(path), { code: 'KEY_FILE_EXPOSED' });
  } finally {
    await rm(home, { recursive: true });
  }
});

test('what is no key is refused by its code', () => {
  for (const text of ['', 'x', 'A'.repeat(44), `${'A'.repeat(43)}B`, `${'A'.repeat(43)}==`]) {
    assert.throws(() => parseWireguardKey(text), { code: 'KEY_FILE_INVALID' }, text);
  }
});
