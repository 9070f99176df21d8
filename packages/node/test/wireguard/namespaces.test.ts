import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { promisify } from 'node:util';
import { deleteNamespace, markOf, namespacePath, openNamespace, takenRanges } from '../../src/wireguard/namespaces.ts';

const run = promisify(execFile);
const skip = process.getuid?.() === 0 ? false : 'only root may make network namespaces';
const nameOf = (): string => `moat-netns-${randomBytes(3).toString('hex')}`;

describe('network namespaces by name and path', { skip }, () => {
  it('are made with their loopback up, found again, and deleted once', async () => {
    const name = nameOf();
    assert.deepEqual(await openNamespace(name), { path: namespacePath(name), made: true });
    assert.deepEqual(await openNamespace(name), { path: namespacePath(name), made: false });
    await run('ip', ['-n', name, 'addr', 'add', '10.9.8.7/24', 'dev', 'lo']);
    assert.deepEqual(await takenRanges(namespacePath(name)), [{ interface: 'lo', cidr: '10.9.8.7/24' }]);
    await deleteNamespace(name);
    await deleteNamespace(name);
  });

  it('are refused where a path leads to none', async () => {
    await assert.rejects(openNamespace('/proc/self/ns/none'), { code: 'NETNS_UNKNOWN' });
  });

  it('of which only a name is left are made anew by whoever made them, and touched by nobody else', async () => {
    const name = nameOf();
    await mkdir('/run/netns', { recursive: true });
    await writeFile(namespacePath(name), '');
    await assert.rejects(openNamespace(name), { code: 'NETNS_UNKNOWN' });
    assert.deepEqual(await openNamespace(name, { isOurs: true }), { path: namespacePath(name), made: true });
    await deleteNamespace(name);
  });

  it('of a process that another one has followed under its number are not entered', async () => {
    const path = `/proc/${process.pid}/ns/net`;
    const mark = await markOf(path);
    assert.deepEqual(await openNamespace(path, { mark }), { path, made: false });
    await assert.rejects(openNamespace(path, { mark: `${mark} later` }), { code: 'NETNS_UNKNOWN' });
    assert.equal(await markOf('/run/netns/any'), null);
    assert.equal(await markOf('/proc/4194304/ns/net'), 'gone');
  });
});
