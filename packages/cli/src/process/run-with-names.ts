/**
 * Starts a program that knows the names of a private network. Where the system allows it, the program gets
 * a mount namespace of its own whose /etc/hosts has them; elsewhere variables and a SOCKS proxy lead there.
 */
import type { HostsAnswer } from '@moat/admin-api';
import { MoatError, errorCode } from '@moat/core';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { accessSync, constants, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { constants as systemConstants, tmpdir } from 'node:os';
import { delimiter, join, resolve as resolvePath } from 'node:path';
import type { Io } from '../io.ts';

/** Begins the name of a run's directory, before the process id. */
const TEMPORARY = 'moat-run-';

export interface RunRequest {
  readonly file: string;
  readonly args: readonly string[];
  readonly hosts: HostsAnswer;
  readonly io: Io;
  /** False: variables only. */
  readonly names: boolean;
}

/**
 * Runs the program in the foreground and returns its exit code (128 + n after signal n).
 * @throws `COMMAND_NOT_FOUND`, `RUN_UNAVAILABLE` where the network stands in a namespace that this user may not enter
 */
export async function runWithNames(request: RunRequest): Promise<number> {
  requireProgram(request);
  const { netns } = request.hosts;
  if (netns !== null) return runInNamespace(request, insideOf(netns));
  // Where services have no local address, the proxy leads to their names.
  const namespace = request.names && request.hosts.proxyPasswordFile === null ? findNamespace() : undefined;
  if (namespace === undefined)
    return runToEnd(spawnProgram(request, [request.file, ...request.args], false), request.io);
  return runInNamespace(request, namespace);
}

async function runInNamespace(request: RunRequest, namespace: Namespace): Promise<number> {
  removeStale(tmpdir());
  const directory = mkdtempSync(join(tmpdir(), `${TEMPORARY}${process.pid}-`));
  try {
    const hostsFile = join(directory, 'hosts');
    writeFileSync(hostsFile, renderHosts(readFileSync('/etc/hosts', 'utf8'), request.hosts), { mode: 0o644 });
    const resolvFile = join(directory, 'resolv.conf');
    writeFileSync(resolvFile, `nameserver ${request.hosts.nameServer ?? '127.0.0.1'}\n`, { mode: 0o644 });
    const files = [hostsFile, resolvFile];
    const line = [...namespace.enter, 'sh', '-c', namespace.script, 'sh', ...files, request.file, ...request.args];
    return await runToEnd(spawnProgram(request, line, true), request.io);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Of runs that were killed: nobody else removes what they wrote. */
export function removeStale(parent: string): void {
  for (const name of readdirSync(parent)) {
    const pid = new RegExp(`^${TEMPORARY}(\\d+)-`).exec(name)?.[1];
    if (pid === undefined || isAlive(Number(pid))) continue;
    try {
      rmSync(join(parent, name), { recursive: true, force: true });
    } catch {
      // Another user's: theirs to remove.
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) !== 'ESRCH';
  }
}

/** Looked up here, so that a missing program has its code in every way of running it. */
function requireProgram({ file, io }: RunRequest): void {
  const directories = file.includes('/') ? [''] : (io.env['PATH'] ?? '').split(delimiter);
  if (directories.some((directory) => isExecutable(resolvePath(io.cwd, directory, file)))) return;
  throw new MoatError('COMMAND_NOT_FOUND', `there is no program ${file}`);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

interface Namespace {
  /** Command that makes the namespace and runs the rest of its arguments there. */
  readonly enter: readonly string[];
  /** Shell script: `$1` is the hosts file, `$2` a resolv.conf with the network's name server, the rest the program. */
  readonly script: string;
}

const MOUNT = 'mount --bind "$1" /etc/hosts && shift 2 &&';
const MOUNT_BOTH =
  'mount --bind "$1" /etc/hosts && { [ ! -e /etc/resolv.conf ] || mount --bind "$2" /etc/resolv.conf; } && shift 2 &&';

/** The first way that works here: as root directly, else with a user namespace that maps only this user. */
function findNamespace(): Namespace | undefined {
  if (process.platform !== 'linux') return undefined;
  const candidates: Namespace[] = [
    { enter: ['unshare', '--mount', '--propagation', 'private'], script: `${MOUNT} exec "$@"` },
    {
      enter: ['unshare', '--user', '--map-current-user', '--keep-caps', '--mount', '--propagation', 'private'],
      // The capabilities of the new namespace were needed for the mount only.
      script: `${MOUNT} exec setpriv --ambient-caps=-all --inh-caps=-all -- "$@"`,
    },
  ];
  const usable = process.getuid?.() === 0 ? candidates : candidates.slice(1);
  return usable.find(({ enter, script }) => {
    const [file = '', ...args] = enter;
    const probe = spawnSync(file, [...args, 'sh', '-c', script, 'sh', '/etc/hosts', '', 'true'], { stdio: 'ignore' });
    return probe.status === 0;
  });
}

/** The network's own namespace, where nothing else is; to enter it takes root. @throws `RUN_UNAVAILABLE` */
function insideOf(netns: string): Namespace {
  if (process.getuid?.() !== 0) {
    throw new MoatError(
      'RUN_UNAVAILABLE',
      `this network stands in the network namespace ${netns}, which only root may enter`,
      {
        next: ['sudo moat run -- CMD'],
      },
    );
  }
  const enter = ['nsenter', `--net=${netns}`, 'unshare', '--mount', '--propagation', 'private'];
  return { enter, script: `${MOUNT_BOTH} exec "$@"` };
}

/** The system's lines, then ours; ours win because resolvers take the first match of a name. */
export function renderHosts(system: string, { network, hosts }: HostsAnswer): string {
  const lines = hosts.map(({ address, name }) => `${address} ${name}`);
  return `# names of the private network ${network}, added by moat run\n${lines.join('\n')}\n${system}`;
}

/** `MOAT_<SERVICE>_HOST` and `_PORT` for each service; without own names also the proxy. */
export function networkVariables(answer: HostsAnswer, withNames: boolean): Record<string, string> {
  const variables: Record<string, string> = { MOAT_NETWORK: answer.network };
  for (const { service, name, address, port } of answer.hosts) {
    const prefix = `MOAT_${service.toUpperCase().replaceAll('-', '_')}`;
    variables[`${prefix}_HOST`] = withNames ? name : address;
    variables[`${prefix}_PORT`] = String(port);
  }
  if (!withNames && answer.socks !== null) {
    const { host, port } = answer.socks;
    const { proxyPasswordFile: file } = answer;
    const login = file === null ? '' : `moat:${encodeURIComponent(readFileSync(file, 'utf8').trim())}@`;
    variables['ALL_PROXY'] = `socks5h://${login}${host}:${port}`;
    // For the many that know no SOCKS.
    variables['HTTPS_PROXY'] = `http://${login}${host}:${port}`;
  }
  return variables;
}

function spawnProgram({ hosts, io }: RunRequest, line: readonly string[], withNames: boolean): ChildProcess {
  const [file = '', ...args] = line;
  return spawn(file, args, {
    cwd: io.cwd,
    env: { ...io.env, ...networkVariables(hosts, withNames) },
    stdio: 'inherit',
  });
}

async function runToEnd(child: ChildProcess, io: Io): Promise<number> {
  const forward = (): void => {
    // A terminal has sent Ctrl-C to the whole group already; twice would cut the program's own orderly end.
    const name = (io.signal.reason as { signalName?: NodeJS.Signals } | undefined)?.signalName ?? 'SIGTERM';
    if (name !== 'SIGINT' || io.stdin.isTTY !== true) child.kill(name);
  };
  io.signal.addEventListener('abort', forward, { once: true });
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (error) => reject(startError(error, child.spawnfile)));
      child.once('close', (code, signal) => {
        const exitCode = code ?? 128 + (signal === null ? 0 : systemConstants.signals[signal]);
        resolve(exitCode);
      });
    });
  } finally {
    io.signal.removeEventListener('abort', forward);
  }
}

function startError(error: Error, file: string): MoatError {
  const code = errorCode(error);
  return new MoatError('COMMAND_NOT_FOUND', `cannot run ${file}: ${code === 'ENOENT' ? 'no such program' : code}`, {
    cause: error,
  });
}
