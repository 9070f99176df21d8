/**
 * Every program of a machine knows the names, once the system's resolver asks the agent: real `getent` and `dig` in a
 * mount namespace with an /etc of its own. The machine's own files are never touched.
 */
import assert from 'node:assert/strict';
import { execFile, execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { createAgentClient } from '@moat/admin-api';
import { stringify } from 'yaml';
import { freePort } from '@moat/testkit';
import { Machine, eventually } from './machine.ts';

const UPSTREAM = '127.53.53.1';
const BEFORE = `# by hand\nsearch lan\nnameserver ${UPSTREAM}\noptions timeout:2\n`;

function skip(): string | false {
  if (process.getuid?.() !== 0) return 'an /etc of its own needs root';
  try {
    execFileSync('unshare', ['--mount', 'true']);
    execFileSync('getent', ['hosts', 'localhost']);
    return false;
  } catch {
    return 'unshare and getent are needed';
  }
}

/** A name server that answers 192.0.2.77 to every question of type A, and nothing to others. */
async function startUpstream(): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.on('message', (query, from) => {
    const end = query.indexOf(0, 12) + 5;
    const isA = query.readUInt16BE(end - 4) === 1;
    const head = Buffer.from(query.subarray(0, end));
    head.writeUInt16BE(0x8180, 2);
    head.writeUInt16BE(isA ? 1 : 0, 6);
    head.writeUInt32BE(0, 8);
    const answer = Buffer.from('c00c00010001000000050004c000024d', 'hex');
    socket.send(isA ? Buffer.concat([head, answer]) : head, from.port, from.address);
  });
  socket.bind(53, UPSTREAM);
  await once(socket, 'listening');
  return socket;
}

suite('names for every program', { skip: skip() }, () => {
  let directory: string;
  let holder: ChildProcess;
  let upstream: Socket;
  let machine: Machine;
  let within: string[];
  let outside: Buffer;

  before(async () => {
    outside = await readFile('/etc/resolv.conf');
    upstream = await startUpstream();
    directory = await mkdtemp(join(tmpdir(), 'moat-etc-'));
    const etc = join(directory, 'etc');
    execFileSync('cp', ['-a', '/etc', etc]);
    await rm(join(etc, 'resolv.conf'), { force: true });
    await writeFile(join(etc, 'resolv.conf'), BEFORE);
    await writeFile(join(etc, 'nsswitch.conf'), 'hosts: files dns\n');
    holder = spawn(
      'unshare',
      ['--mount', '--propagation', 'private', 'sh', '-c', `mount --bind ${etc} /etc && echo ready && exec cat`],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    await once(holder.stdout as NodeJS.ReadableStream, 'data');
    within = ['nsenter', `--mount=/proc/${holder.pid}/ns/mnt`, '--'];
    machine = await Machine.create('named', { within });
    await machine.startAgent(['--no-mdns', '--listen', `/ip4/127.0.0.1/tcp/${await freePort()}`, '--link-port', 'off']);
    const client = createAgentClient({ socketPath: machine.path('state', 'agent.sock') });
    const { peerId } = await client.status();
    await machine.ok(['key', 'new', '--plain']);
    await machine.write(
      'moat.yaml',
      stringify({
        version: 1,
        name: 'shop',
        anchors: [],
        members: { home: { node: peerId, keeper: true } },
        services: { db: { on: ['home'], port: 5432, target: '127.0.0.1:7000' } },
        access: [{ from: ['home'], to: ['db'] }],
      }),
    );
    await machine.ok(['apply', '--yes']);
  });

  after(async () => {
    await machine[Symbol.asyncDispose]();
    holder.kill();
    upstream.close();
    await rm(directory, { recursive: true, force: true });
  });

  /** Runs a program where /etc is ours: what it said, or its exit code. Not in one turn: the upstream is this process. */
  async function inside(file: string, ...args: readonly string[]): Promise<string> {
    const [enter = '', ...rest] = within;
    try {
      return (await promisify(execFile)(enter, [...rest, file, ...args])).stdout;
    } catch (error) {
      return `exit ${(error as { code: number }).code}`;
    }
  }

  async function addressOf(name: string): Promise<string> {
    return (await inside('getent', 'ahostsv4', name)).split(/\s/)[0] ?? '';
  }

  async function moat(...args: readonly string[]): Promise<{ code: number; said: string }> {
    const command = machine.spawn(args);
    const [code] = (await once(command.child, 'close')) as [number];
    return { code, said: command.output };
  }

  test('before, all names are asked of the world', async () => {
    assert.equal(await addressOf('example.test'), '192.0.2.77');
    assert.equal(await addressOf('db.shop.internal'), '192.0.2.77');
  });

  test('installed, getent and dig find services at their loopback addresses, and the world where it was', async () => {
    const { code, said } = await moat('node', 'dns', 'install');
    assert.equal(code, 0, said);
    assert.match(said, /by resolv\.conf; other names go to 127\.53\.53\.1/);
    const client = createAgentClient({ socketPath: machine.path('state', 'agent.sock') });
    const { hosts } = await client.hosts('shop');
    assert.equal(await addressOf('db.shop.internal'), hosts[0]?.address);
    assert.equal(await addressOf('example.test'), '192.0.2.77');
    assert.match(await inside('getent', 'ahostsv4', 'nobody.shop.internal.'), /^exit/);
    assert.match((await moat('node', 'dns', 'status')).said, /names below \.internal are asked of 127/);
    const digged = await inside('dig', '+short', '+tries=1', 'db.shop.internal');
    if (!digged.startsWith('exit')) assert.equal(digged.trim(), hosts[0]?.address);
  });

  test('while the agent is killed the world is still found, and afterwards all is as it was', async () => {
    const client = createAgentClient({ socketPath: machine.path('state', 'agent.sock') });
    process.kill((await client.status()).pid, 'SIGKILL');
    assert.equal(await addressOf('example.test'), '192.0.2.77');
    const { code, said } = await moat('node', 'dns', 'uninstall');
    assert.equal(code, 0, said);
    assert.equal(await readFile(join(directory, 'etc/resolv.conf'), 'utf8'), BEFORE);
    assert.equal(await addressOf('example.test'), '192.0.2.77');
  });

  test('a resolv.conf that is a mount point, as in containers, is changed and put back too', async () => {
    const mounted = join(directory, 'mounted');
    await writeFile(mounted, BEFORE);
    assert.equal(await inside('mount', '--bind', mounted, '/etc/resolv.conf'), '');
    await machine.startAgent(['--no-mdns', '--no-inbound']);
    const installed = await moat('node', 'dns', 'install');
    assert.equal(installed.code, 0, installed.said);
    await eventually('the name is found', async () => (await addressOf('db.shop.internal')).startsWith('127.'));
    assert.equal((await moat('node', 'dns', 'uninstall')).code, 0);
    assert.equal(await readFile(mounted, 'utf8'), BEFORE);
  });

  test('a file that another program writes is refused', async () => {
    await writeFile(join(directory, 'mounted'), `# Generated by NetworkManager\n${BEFORE}`);
    const { code, said } = await moat('node', 'dns', 'install', '--json');
    assert.equal(code, 4, said);
    assert.match(said, /DNS_SETUP_UNKNOWN/);
    assert.match(said, /NetworkManager/);
  });

  test("the machine's own file was never touched", async () => {
    assert.deepEqual(await readFile('/etc/resolv.conf'), outside);
    await assert.rejects(readFile('/etc/resolv.conf.before-moat'));
  });
});
