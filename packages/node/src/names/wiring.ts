/**
 * Makes the system's resolver ask the agent's DNS: a drop-in for systemd-resolved where that answers, else
 * /etc/resolv.conf. What cannot be recognised is left alone.
 */
import { lstat, mkdir, readFile, readlink, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { MoatError, errorCode } from '@moat/core';
import { copyWithRights, replaceFile, restoreFile } from './replace-file.ts';
import { isOurs, nameserversOf, withServer, writerOf } from './resolv-conf.ts';

const RESOLV_CONF = 'etc/resolv.conf';
/** Beside it: there until the file is put back. Its servers are where the agent sends what is not ours. */
const BACKUP = 'etc/resolv.conf.before-moat';
const DROP_IN = 'etc/systemd/resolved.conf.d/moat.conf';
const RESOLVED = 'run/systemd/resolve';
const RESOLVED_STUB = '127.0.0.53';

export interface WiringDeps {
  /** Root of the file system. @defaultValue `/` */
  readonly root?: string;
  /** Runs a program of the system; rejects when it fails. */
  readonly run: (file: string, args: readonly string[]) => Promise<void>;
}

/** How the system's resolver reaches the agent's DNS. */
export interface DnsWiring {
  readonly kind: 'resolved' | 'resolv.conf' | 'none';
  /** Address the system asks, with its port; null where nothing is wired. */
  readonly server: string | null;
  /** Servers for all other names; empty where those never come to the agent. */
  readonly others: readonly string[];
}

const UNWIRED: DnsWiring = { kind: 'none', server: null, others: [] };

/** What is wired now. */
export async function readDnsWiring({ root = '/' }: Pick<WiringDeps, 'root'> = {}): Promise<DnsWiring> {
  const dropIn = await readFile(join(root, DROP_IN), 'utf8').catch(() => undefined);
  if (dropIn !== undefined) {
    return { kind: 'resolved', server: /^DNS=(\S+)$/m.exec(dropIn)?.[1] ?? null, others: [] };
  }
  const [text, before] = await Promise.all(
    [RESOLV_CONF, BACKUP].map((path) => readFile(join(root, path), 'utf8').catch(() => undefined)),
  );
  if (text === undefined || before === undefined || !isOurs(text)) return UNWIRED;
  const [server] = nameserversOf(text);
  return server === undefined
    ? UNWIRED
    : {
        kind: 'resolv.conf',
        server: `${server}:53`,
        others: nameserversOf(before).filter((each) => each !== server),
      };
}

/**
 * Wires the DNS at `host:port`; doing it again changes nothing, or the address.
 * @throws `DNS_SETUP_UNKNOWN`, `DNS_PORT_SHIFTED`, `DNS_SETUP_FAILED`
 */
export async function installDns(
  deps: WiringDeps,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<DnsWiring> {
  try {
    if (await asksResolved(deps.root ?? '/')) await installDropIn(deps, host, port);
    else await installResolvConf(deps.root ?? '/', host, port);
  } catch (cause) {
    throw failed(cause);
  }
  return readDnsWiring(deps);
}

/** Puts everything back as it was; a file somebody else wrote since stays. @throws `DNS_SETUP_FAILED` */
export async function uninstallDns(deps: WiringDeps): Promise<DnsWiring> {
  const root = deps.root ?? '/';
  try {
    if (await exists(join(root, DROP_IN))) {
      await rm(join(root, DROP_IN));
      await reload(deps);
    }
    const backup = join(root, BACKUP);
    if (await exists(backup)) {
      const text = await readFile(join(root, RESOLV_CONF), 'utf8').catch(() => '');
      // Empty: cut off while it was written in place.
      if (isOurs(text) || text === '') await restoreFile(join(root, RESOLV_CONF), backup);
      else await rm(backup);
    }
  } catch (cause) {
    throw failed(cause);
  }
  return readDnsWiring(deps);
}

async function installDropIn(deps: WiringDeps, host: string, port: number): Promise<void> {
  const path = join(deps.root ?? '/', DROP_IN);
  const server = port === 53 ? host : `${host}:${port}`;
  const text = `# made by moat node dns install\n[Resolve]\nDNS=${server}\nDomains=~internal\n`;
  if ((await readFile(path, 'utf8').catch(() => undefined)) === text) return;
  await mkdir(dirname(path), { recursive: true });
  await replaceFile(path, text, { mode: 0o644 });
  try {
    await reload(deps);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

async function installResolvConf(root: string, host: string, port: number): Promise<void> {
  const path = join(root, RESOLV_CONF);
  const backup = join(root, BACKUP);
  if ((await lstat(path)).isSymbolicLink()) {
    throw unknown(`${path} leads to ${await readlink(path)}, which another program writes`, host, port);
  }
  if (port !== 53) {
    throw new MoatError('DNS_PORT_SHIFTED', `/etc/resolv.conf knows port 53 only, and the agent's DNS has ${port}`, {
      next: ['run the agent as root', 'sysctl -w net.ipv4.ip_unprivileged_port_start=53, then start the agent again'],
    });
  }
  const text = await readFile(path, 'utf8');
  if (isOurs(text)) {
    if (nameserversOf(text)[0] !== host) {
      await replaceFile(path, withServer(await readFile(backup, 'utf8'), host), await lstat(path));
    }
    return;
  }
  const writer = writerOf(text);
  if (writer !== undefined) throw unknown(`${path} is written by ${writer}`, host, port);
  if (nameserversOf(text).length === 0) throw unknown(`${path} names no server`, host, port);
  await copyWithRights(path, backup);
  await replaceFile(path, withServer(text, host), await lstat(path));
}

/** systemd-resolved runs, and programs ask it. */
async function asksResolved(root: string): Promise<boolean> {
  if (!(await exists(join(root, RESOLVED)))) return false;
  const path = join(root, RESOLV_CONF);
  const link = await readlink(path).catch(() => '');
  if (link.includes('systemd/resolve/')) return true;
  const text = await readFile(path, 'utf8').catch(() => '');
  return nameserversOf(text)[0] === RESOLVED_STUB;
}

function reload({ run }: WiringDeps): Promise<void> {
  return run('systemctl', ['reload-or-restart', 'systemd-resolved']);
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined;
}

function unknown(why: string, host: string, port: number): MoatError<'DNS_SETUP_UNKNOWN'> {
  return new MoatError('DNS_SETUP_UNKNOWN', 'how this machine resolves names is not known well enough to change it', {
    reason: why,
    next: [
      `send names below .internal to ${host} port ${port} in that program's own configuration`,
      'moat run -- CMD   knows the names without any of this',
    ],
  });
}

function failed(cause: unknown): MoatError {
  if (cause instanceof MoatError) return cause;
  const code = errorCode(cause);
  return new MoatError('DNS_SETUP_FAILED', "the system's resolver could not be changed", {
    cause,
    reason: cause instanceof Error ? cause.message : code,
    next: code === 'EACCES' || code === 'EPERM' ? ['the same with sudo'] : [],
  });
}
