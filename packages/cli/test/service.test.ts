/** Units that systemd takes, and words that it hears. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ServiceManager } from '../src/service/notify.ts';
import { renderUnit, SERVICES, unitName } from '../src/service/unit.ts';

const isThere = (program: string): boolean => spawnSync(program, ['--version']).status === 0;

const noAnalyze = isThere('systemd-analyze') ? false : 'there is no systemd-analyze';
for (const [service, wireguard, most] of [
  ...SERVICES.map((name) => [name, false, 3.5] as const),
  ['node', true, 5.5] as const,
]) {
  const what = wireguard ? `${service} with WireGuard` : service;
  test(`systemd finds nothing wrong with the unit of the ${what}, and little exposed`, { skip: noAnalyze }, () => {
    const directory = mkdtempSync(join(tmpdir(), 'moat-unit-'));
    const path = join(directory, unitName(service));
    const args = service === 'gateway' ? ['--config', '/etc/moat/gateway.yaml'] : [];
    writeFileSync(path, renderUnit(service, { command: [process.execPath, '/usr/lib/moat/main.js'], args, wireguard }));
    const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', path], { encoding: 'utf8' });
    const ours = stderr.split('\n').filter((line) => line.includes(unitName(service)));
    assert.deepEqual(ours, []);
    assert.equal(status, 0, stderr);
    const security = spawnSync('systemd-analyze', ['security', '--offline=yes', path], { encoding: 'utf8' });
    const level = /Overall exposure level for .*: ([\d.]+)/.exec(security.stdout)?.[1];
    if (level !== undefined) assert.ok(Number(level) < most, `exposure ${level}`);
    rmSync(directory, { recursive: true });
  });
}

test('a unit is hardened, and its words are taken literally', () => {
  const unit = renderUnit('gateway', {
    command: ['/opt/my node/bin/node', '/home/a/moat.js'],
    args: ['--config', '/etc/50%/$x "y"'],
  });
  assert.match(
    unit,
    /^ExecStart="\/opt\/my node\/bin\/node" \/home\/a\/moat\.js gateway run --config "\/etc\/50%%\/\$\$x \\"y\\""$/m,
  );
  assert.match(unit, /^ProtectHome=read-only$/m);
  for (const line of [
    'DynamicUser=yes',
    'ProtectSystem=strict',
    'NoNewPrivileges=yes',
    'Type=notify',
    'WatchdogSec=60',
  ]) {
    assert.ok(unit.includes(`\n${line}\n`), line);
  }
  assert.match(unit, /^CapabilityBoundingSet=CAP_NET_BIND_SERVICE$/m);
  assert.match(renderUnit('node', { command: ['/usr/bin/node'], args: [] }), /^CapabilityBoundingSet=$/m);
  const plane = renderUnit('node', { command: ['/usr/bin/node'], args: [], wireguard: true });
  for (const line of [
    'AmbientCapabilities=CAP_NET_ADMIN CAP_SYS_ADMIN',
    'KillMode=process',
    'DeviceAllow=/dev/net/tun rw',
  ]) {
    assert.ok(plane.split('\n').includes(line), line);
  }
});

/** Listens as systemd does, which Node cannot. */
const LISTENER = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('bound', flush=True)
while True:
    sys.stdout.write(s.recv(4096).decode() + '\\n'); sys.stdout.flush()
`;
const skip = !isThere('systemd-notify')
  ? 'there is no systemd-notify'
  : isThere('python3')
    ? false
    : 'there is no python3, which stands for systemd';

test('systemd hears that we are ready, alive, reloading and stopping', { skip }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'moat-notify-'));
  const path = join(directory, 'notify');
  const listener = spawn('python3', ['-c', LISTENER, path]);
  let heard = '';
  const hears = async (words: RegExp): Promise<void> => {
    while (!words.test(heard)) heard += String((await once(listener.stdout, 'data'))[0]);
  };
  await hears(/bound/);
  const env = { PATH: process.env['PATH'], NOTIFY_SOCKET: path, WATCHDOG_USEC: '200000' };
  using manager = new ServiceManager(env);
  // Its timer keeps no process alive; ours does.
  const alive = setInterval(() => undefined, 1_000);
  manager.ready('serving x');
  await hears(/READY=1/);
  await hears(/STATUS=serving x/);
  await hears(/WATCHDOG=1[^]*WATCHDOG=1/);
  manager.reloading();
  await hears(/RELOADING=1/);
  manager.stopping();
  await hears(/STOPPING=1/);
  clearInterval(alive);
  listener.kill();
  await once(listener, 'close');
  rmSync(directory, { recursive: true });
});

test('without systemd nothing is said', () => {
  using manager = new ServiceManager({ PATH: '/nowhere', WATCHDOG_USEC: '1' });
  manager.ready('x');
  manager.stopping();
});
