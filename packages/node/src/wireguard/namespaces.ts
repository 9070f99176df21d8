/** Network namespaces of this machine, by name or path, and what stands in them. */
import { execFile } from 'node:child_process';
import { readFile, statfs } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MoatError, errorCode } from '@moat/core';
import { z } from 'zod';
import type { StoredTunnel } from '../store/machine-store.ts';

const run = promisify(execFile);
const RUN_MS = 10_000;
/** Where `ip netns` keeps names. */
const NAMED = '/run/netns';

/** A namespace that can be entered. */
export interface OpenNamespace {
  readonly path: string;
  /** It was not there and was made. */
  readonly made: boolean;
}

export interface Opening {
  /** It was made here: what is left of it after the machine, or the agent's own mounts, went is made anew. @defaultValue false */
  readonly isOurs?: boolean;
  /** What {@link markOf} said of it when the operator named it: another one is not entered. @defaultValue any */
  readonly mark?: string | null;
}

/** How a namespace that was named earlier is opened again. */
export function openingOf({ netnsMade, netnsMark }: Pick<StoredTunnel, 'netnsMade' | 'netnsMark'>): Opening {
  return { isOurs: netnsMade, mark: netnsMark };
}

/** Where a namespace stands that the operator names: a name below /run/netns, or a path as it is. */
export function namespacePath(netns: string): string {
  return netns.startsWith('/') ? netns : join(NAMED, netns);
}

/**
 * A name that does not exist is made; a path has to exist. Its loopback is up afterwards: names and listeners stand there.
 * @throws `NETNS_UNKNOWN`, `NETNS_FAILED`
 */
export async function openNamespace(
  netns: string,
  { isOurs = false, mark = null }: Opening = {},
): Promise<OpenNamespace> {
  const path = namespacePath(netns);
  const found = mark === null || (await markOf(netns)) === mark ? await look(path) : 'nothing';
  if (found === 'namespace') {
    await loopbackUp(path);
    return { path, made: false };
  }
  if (found === 'other' && isOurs) await ip(['netns', 'delete', netns]);
  else if (found === 'other') {
    throw new MoatError('NETNS_UNKNOWN', `${path} is no network namespace, as the agent sees it`, {
      reason: 'it was made by a process with mounts of its own, or is left of one',
      next: ['moat wireguard up --netns PID   by a process inside', `sudo ip netns delete ${netns}   if nobody has it`],
    });
  }
  if (netns.startsWith('/')) {
    throw new MoatError('NETNS_UNKNOWN', `there is no network namespace at ${netns}`, {
      reason: 'the program or container it belonged to is gone',
      next: ['moat wireguard up --netns PATH   with the new one', 'moat wireguard down'],
    });
  }
  await ip(['netns', 'add', netns]);
  await loopbackUp(path);
  return { path, made: true };
}

/**
 * Tells a process from the next one of its number, also after a restart of the machine, for a path below /proc; null for
 * any other: those are named by people.
 */
export async function markOf(netns: string): Promise<string | null> {
  const pid = /^\/proc\/(\d+)\//.exec(netns)?.[1];
  if (pid === undefined) return null;
  try {
    const [boot, stat] = await Promise.all([
      readFile('/proc/sys/kernel/random/boot_id', 'utf8'),
      readFile(`/proc/${pid}/stat`, 'utf8'),
    ]);
    // Behind the name, which may hold anything, the 20th field is when it began (proc_pid_stat(5)).
    const began = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    return `${boot.trim()} ${began ?? ''}`;
  } catch {
    return 'gone';
  }
}

async function loopbackUp(path: string): Promise<void> {
  await command('nsenter', [`--net=${path}`, 'ip', 'link', 'set', 'lo', 'up']);
}

/** Deletes a named one; one that is gone is no error. @throws `NETNS_FAILED` */
export async function deleteNamespace(netns: string): Promise<void> {
  if ((await look(namespacePath(netns))) !== 'nothing') await ip(['netns', 'delete', netns]);
}

/** A range that an interface of a namespace has. */
export interface TakenRange {
  readonly interface: string;
  /** IPv4 CIDR. */
  readonly cidr: string;
}

const addressesSchema = z.array(
  z.object({
    ifname: z.string().optional(),
    addr_info: z.array(z.object({ family: z.string(), local: z.string(), prefixlen: z.number() })).optional(),
  }),
);

/** IPv4 ranges of a namespace's interfaces, loopback left out. @param path null = the agent's. @throws `NETNS_FAILED` */
export async function takenRanges(path: string | null): Promise<readonly TakenRange[]> {
  if (path === null) {
    return Object.entries(networkInterfaces()).flatMap(([name, entries = []]) =>
      entries.flatMap(({ family, internal, cidr }) =>
        family === 'IPv4' && !internal && cidr !== null ? [{ interface: name, cidr }] : [],
      ),
    );
  }
  const { stdout } = await command('nsenter', [`--net=${path}`, 'ip', '-j', '-4', 'addr']);
  return addressesSchema
    .parse(JSON.parse(stdout))
    .flatMap(({ ifname = '', addr_info: addresses = [] }) =>
      addresses.flatMap(({ family, local, prefixlen }) =>
        family === 'inet' && !local.startsWith('127.') ? [{ interface: ifname, cidr: `${local}/${prefixlen}` }] : [],
      ),
    );
}

/** `NSFS_MAGIC` of the kernel: what a namespace's file is on. */
const NSFS = 0x6e736673;

async function look(path: string): Promise<'namespace' | 'other' | 'nothing'> {
  try {
    return (await statfs(path)).type === NSFS ? 'namespace' : 'other';
  } catch {
    return 'nothing';
  }
}

function ip(args: readonly string[]): Promise<{ readonly stdout: string }> {
  return command('ip', args);
}

async function command(file: string, args: readonly string[]): Promise<{ readonly stdout: string }> {
  try {
    return await run(file, args, { timeout: RUN_MS });
  } catch (cause) {
    const isMissing = errorCode(cause) === 'ENOENT';
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : errorCode(cause);
    throw new MoatError(
      'NETNS_FAILED',
      `network namespaces cannot be used: ${file} ${isMissing ? 'is not installed' : 'failed'}`,
      {
        cause,
        reason: said.slice(0, 500),
        next: isMissing ? ['apt install iproute2 util-linux'] : ['run the agent as root'],
      },
    );
  }
}
