import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chmod, lstat, mkdir, mkdtemp, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { suite, test } from 'node:test';
import { installDns, readDnsWiring, uninstallDns, type WiringDeps } from '../../src/index.ts';

const OURS = { host: '127.77.1.53', port: 53 };
const BEFORE = 'search lan\nnameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver 192.0.2.3\noptions edns0\n';

class Root implements AsyncDisposable {
  readonly ran: string[] = [];
  readonly path: string;
  fails = false;

  private constructor(path: string) {
    this.path = path;
  }

  static async with(files: Readonly<Record<string, string>>): Promise<Root> {
    const root = new Root(await mkdtemp(join(tmpdir(), 'moat-root-')));
    for (const [file, text] of Object.entries(files)) {
      await mkdir(dirname(join(root.path, file)), { recursive: true });
      await writeFile(join(root.path, file), text);
    }
    return root;
  }

  get deps(): WiringDeps {
    return {
      root: this.path,
      run: (file, args) => {
        this.ran.push([file, ...args].join(' '));
        return this.fails ? Promise.reject(new Error('no bus')) : Promise.resolve();
      },
    };
  }

  read(file: string): Promise<string> {
    return readFile(join(this.path, file), 'utf8');
  }

  has(file: string): boolean {
    return existsSync(join(this.path, file));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }
}

suite('wiring: /etc/resolv.conf', () => {
  test('our server comes first, the others stay, and all comes back exactly', async () => {
    await using root = await Root.with({ 'etc/resolv.conf': BEFORE });
    const path = join(root.path, 'etc/resolv.conf');
    await chmod(path, 0o640);
    await utimes(path, 1_000_000, 1_000_000);
    assert.deepEqual(await readDnsWiring(root.deps), { kind: 'none', server: null, others: [] });
    const wiring = await installDns(root.deps, OURS);
    const others = ['192.0.2.1', '2001:db8::1', '192.0.2.3'];
    assert.deepEqual(wiring, { kind: 'resolv.conf', server: '127.77.1.53:53', others });
    const lines = (await root.read('etc/resolv.conf')).split('\n');
    assert.deepEqual(lines.slice(1), [
      'nameserver 127.77.1.53',
      'nameserver 192.0.2.1',
      'nameserver 2001:db8::1',
      'search lan',
      'options edns0',
      '',
    ]);
    assert.equal((await lstat(path)).mode & 0o777, 0o640);
    assert.deepEqual(await uninstallDns(root.deps), { kind: 'none', server: null, others: [] });
    assert.equal(await root.read('etc/resolv.conf'), BEFORE);
    const { mode, mtimeMs } = await lstat(path);
    assert.deepEqual([mode & 0o777, mtimeMs], [0o640, 1_000_000_000]);
    assert.equal(root.has('etc/resolv.conf.before-moat'), false);
  });

  test('twice is once, another address replaces ours, and the backup stays the first', async () => {
    await using root = await Root.with({ 'etc/resolv.conf': BEFORE });
    await installDns(root.deps, OURS);
    await installDns(root.deps, OURS);
    const wiring = await installDns(root.deps, { host: '127.78.1.53', port: 53 });
    assert.equal(wiring.server, '127.78.1.53:53');
    assert.equal((await root.read('etc/resolv.conf')).match(/nameserver 127/g)?.length, 1);
    await uninstallDns(root.deps);
    assert.equal(await root.read('etc/resolv.conf'), BEFORE);
  });

  test('after a crash between backup and change, both ways lead out', async () => {
    await using root = await Root.with({
      'etc/resolv.conf': BEFORE,
      'etc/resolv.conf.before-moat': 'nameserver 9.9.9.9\n',
    });
    assert.equal((await readDnsWiring(root.deps)).kind, 'none');
    await uninstallDns(root.deps);
    assert.equal(await root.read('etc/resolv.conf'), BEFORE);
    await writeFile(join(root.path, 'etc/resolv.conf.before-moat'), 'nameserver 9.9.9.9\n');
    await installDns(root.deps, OURS);
    assert.equal(await root.read('etc/resolv.conf.before-moat'), BEFORE);
  });

  test('after a crash in the middle of writing in place, what was there comes back', async () => {
    await using root = await Root.with({ 'etc/resolv.conf': '', 'etc/resolv.conf.before-moat': BEFORE });
    await uninstallDns(root.deps);
    assert.equal(await root.read('etc/resolv.conf'), BEFORE);
  });

  test('a file somebody else wrote since stays', async () => {
    await using root = await Root.with({ 'etc/resolv.conf': BEFORE });
    await installDns(root.deps, OURS);
    await writeFile(join(root.path, 'etc/resolv.conf'), 'nameserver 10.0.0.1\n');
    assert.equal((await readDnsWiring(root.deps)).kind, 'none');
    await uninstallDns(root.deps);
    assert.equal(await root.read('etc/resolv.conf'), 'nameserver 10.0.0.1\n');
    assert.equal(root.has('etc/resolv.conf.before-moat'), false);
  });

  const refused: Record<string, [file: string, code: string, port?: number]> = {
    'one that NetworkManager writes': [`# Generated by NetworkManager\n${BEFORE}`, 'DNS_SETUP_UNKNOWN'],
    'one that resolvconf writes': [`# written by resolvconf(8)\n${BEFORE}`, 'DNS_SETUP_UNKNOWN'],
    'one without a server': ['search lan\n', 'DNS_SETUP_UNKNOWN'],
    'a port it cannot name': [BEFORE, 'DNS_PORT_SHIFTED', 20_053],
  };
  for (const [name, [file, code, port = 53]] of Object.entries(refused)) {
    test(`refuses ${name}, and changes nothing`, async () => {
      await using root = await Root.with({ 'etc/resolv.conf': file });
      await assert.rejects(installDns(root.deps, { ...OURS, port }), { code });
      assert.equal(await root.read('etc/resolv.conf'), file);
      assert.equal(root.has('etc/resolv.conf.before-moat'), false);
    });
  }

  test('refuses a link to a file of another program', async () => {
    await using root = await Root.with({ 'run/other/resolv.conf': BEFORE, 'etc/hosts': '' });
    await symlink('../run/other/resolv.conf', join(root.path, 'etc/resolv.conf'));
    await assert.rejects(installDns(root.deps, OURS), { code: 'DNS_SETUP_UNKNOWN' });
    assert.equal(await root.read('run/other/resolv.conf'), BEFORE);
  });

  test('no such file is a coded error', async () => {
    await using root = await Root.with({ 'etc/hosts': '' });
    await assert.rejects(installDns(root.deps, OURS), { code: 'DNS_SETUP_FAILED' });
  });
});

suite('wiring: systemd-resolved', () => {
  const DROP_IN = 'etc/systemd/resolved.conf.d/moat.conf';

  test('gets only .internal, with the port; and is left as it was', async () => {
    await using root = await Root.with({
      'run/systemd/resolve/stub-resolv.conf': 'nameserver 127.0.0.53\n',
      'etc/hosts': '',
    });
    await symlink('../run/systemd/resolve/stub-resolv.conf', join(root.path, 'etc/resolv.conf'));
    const wiring = await installDns(root.deps, { ...OURS, port: 20_053 });
    assert.deepEqual(wiring, { kind: 'resolved', server: '127.77.1.53:20053', others: [] });
    assert.match(await root.read(DROP_IN), /^DNS=127\.77\.1\.53:20053\nDomains=~internal$/m);
    await installDns(root.deps, { ...OURS, port: 20_053 });
    await uninstallDns(root.deps);
    assert.equal(root.has(DROP_IN), false);
    assert.deepEqual(root.ran, Array(2).fill('systemctl reload-or-restart systemd-resolved'));
  });

  test('one that does not reload is left without our file', async () => {
    await using root = await Root.with({ 'run/systemd/resolve/x': '', 'etc/resolv.conf': 'nameserver 127.0.0.53\n' });
    root.fails = true;
    await assert.rejects(installDns(root.deps, OURS), { code: 'DNS_SETUP_FAILED' });
    assert.equal(root.has(DROP_IN), false);
  });
});
