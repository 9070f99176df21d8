/** What can be wrong with the machine itself. */
import { errorCode } from '@moat/core';
import { spawnSync } from 'node:child_process';
import { lookup } from 'node:dns/promises';
import { stat, statfs } from 'node:fs/promises';
import { createServer } from 'node:net';
import { attention, ok, problem, type Check } from './check.ts';

/** Newest security release of each line known when this was written; older ones work, and are named. */
const NEWEST_SECURITY_RELEASE: Readonly<Record<number, string>> = { 24: '24.21.0', 26: '26.10.0' };
const MIN_FREE_BYTES = 100 * 1024 * 1024;

const nodeVersion: Check = {
  name: 'Node',
  run: async () => {
    const version = process.versions.node;
    const newest = NEWEST_SECURITY_RELEASE[Number(version.split('.')[0])];
    if (newest === undefined)
      return [attention('Node', `${version} is not a line Moat is tested on`, 'use Node 24 or 26')];
    if (isOlder(version, newest))
      return [attention('Node', `${version} lacks security fixes`, `update to ${newest} or newer`)];
    return [ok('Node', version)];
  },
};

const stateDirectory: Check = {
  name: 'state directory',
  run: async ({ paths }) => {
    try {
      const { mode, uid } = await stat(paths.home);
      if ((mode & 0o077) !== 0) {
        const bits = (mode & 0o777).toString(8);
        return [
          problem('state directory', `${paths.home} has mode ${bits}: others can look in`, `chmod 700 ${paths.home}`),
        ];
      }
      if (uid !== process.getuid?.()) return [attention('state directory', `${paths.home} belongs to another user`)];
      return [ok('state directory', `${paths.home}, private`)];
    } catch (error) {
      if (errorCode(error) !== 'ENOENT') {
        return [problem('state directory', `${paths.home}: ${errorCode(error)}`, 'check its path and rights')];
      }
      return [ok('state directory', `${paths.home}, made when needed`)];
    }
  },
};

const diskSpace: Check = {
  name: 'disk',
  run: async ({ paths }) => {
    const { bavail, bsize } = await statfs(paths.home).catch(() => statfs('/'));
    const free = bavail * bsize;
    const text = `${Math.round(free / 1024 / 1024).toLocaleString('en')} MiB free`;
    return [
      free < MIN_FREE_BYTES
        ? problem('disk', `only ${text}`, 'free some space: a full disk takes no new version')
        : ok('disk', text),
    ];
  },
};

const localhostNames: Check = {
  name: '*.localhost',
  run: async () => {
    try {
      await lookup('moat-doctor.localhost');
      return [ok('*.localhost', 'resolves for programs')];
    } catch {
      return [
        attention(
          '*.localhost',
          'does not resolve for programs here (browsers and curl do by themselves)',
          'apt install libnss-myhostname, or moat dev --hosts',
        ),
      ];
    }
  },
};

const namespaces: Check = {
  name: 'moat run',
  run: async () => {
    if (process.platform !== 'linux')
      return [attention('moat run', 'names by variables and proxy only: this is not Linux')];
    const root = process.getuid?.() === 0;
    const args = root ? ['--mount', 'true'] : ['--user', '--map-current-user', '--keep-caps', '--mount', 'true'];
    if (spawnSync('unshare', args, { stdio: 'ignore' }).status === 0)
      return [ok('moat run', 'gives programs their own /etc/hosts')];
    return [
      attention(
        'moat run',
        'this system allows no user namespaces: programs get variables and a proxy instead of names',
        'sysctl kernel.unprivileged_userns_clone=1 (or kernel.apparmor_restrict_unprivileged_userns=0)',
      ),
    ];
  },
};

const wireguard: Check = {
  name: 'WireGuard',
  run: async () => {
    if (process.platform !== 'linux') return [attention('WireGuard', 'interfaces need Linux; links work everywhere')];
    const missing = [
      ['wg', '--version', 'wireguard-tools'],
      ['ip', '-V', 'iproute2'],
      ['nft', '--version', 'nftables'],
    ].flatMap(([tool = '', flag = '', debian = '']) => (hasProgram(tool, flag) ? [] : [debian]));
    if (!(await hasKernelModule()) && !hasProgram('wireguard-go', '--version')) missing.push('wireguard-go');
    if (missing.length > 0) {
      const what = 'interfaces (moat wireguard up) need more programs; links work without';
      return [attention('WireGuard', what, `apt install ${missing.join(' ')}`)];
    }
    if (process.getuid?.() !== 0) {
      const what = 'the tools are here; to make interfaces the agent runs as root or with CAP_NET_ADMIN';
      return [attention('WireGuard', what, 'sudo moat node run, or moat service install')];
    }
    return [
      ok('WireGuard', `interfaces can be made${(await hasKernelModule()) ? ' by the kernel' : ' by wireguard-go'}`),
    ];
  },
};

function hasProgram(file: string, flag: string): boolean {
  return spawnSync(file, [flag], { stdio: 'ignore' }).error === undefined;
}

/** Loaded or built in; one that would be loaded on demand is found by the agent when it makes an interface. */
async function hasKernelModule(): Promise<boolean> {
  return stat('/sys/module/wireguard').then(
    () => true,
    () => spawnSync('modinfo', ['wireguard'], { stdio: 'ignore' }).status === 0,
  );
}

/** Only asked while no agent runs: then the ports should be free. */
export async function checkPorts(): Promise<readonly ReturnType<typeof ok>[]> {
  const found = [];
  for (const [port, what] of [
    [4410, 'overlay'],
    [4411, 'links'],
  ] as const) {
    const name = `port ${port}`;
    found.push(
      (await canListen(port))
        ? ok(name, `free for ${what}`)
        : attention(
            name,
            `in use by another program; the agent wants it for ${what}`,
            `moat node run --listen … or --link-port …`,
          ),
    );
  }
  return found;
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen({ port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

function isOlder(version: string, than: string): boolean {
  const [a, b] = [version.split('.').map(Number), than.split('.').map(Number)];
  for (let i = 0; i < 3; i++) if (a[i] !== b[i]) return (a[i] ?? 0) < (b[i] ?? 0);
  return false;
}

export const MACHINE_CHECKS: readonly Check[] = [
  nodeVersion,
  stateDirectory,
  diskSpace,
  localhostNames,
  namespaces,
  wireguard,
];
