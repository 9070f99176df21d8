/**
 * `moat run -- CMD`: starts a program that knows the private network's names.
 * Best: own user and mount namespace in which /etc/hosts is ours; else environment variables only.
 */
import { execFile } from 'node:child_process';
import { MoatError } from '@moat/core';

/** What this machine lets us do: a mount namespace (root), a user namespace (anyone), or neither. */
export type NamespaceKind = 'mount' | 'user' | 'none';

export interface RunRequest {
  /** Program and arguments. */
  readonly command: readonly string[];
  /** File to show as /etc/hosts, readable by the user: see `hostsFileOf`. */
  readonly hostsFile: string;
  /** From `environmentOf`. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Whose the program is to be inside its namespace: the user that runs it. */
export interface RunUser {
  readonly uid: number;
  readonly gid: number;
}

/** A process to start with the caller's stdio; its exit status is the program's. */
export interface RunPlan {
  readonly file: string;
  readonly args: readonly string[];
  /** To add to the environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** False = names do not resolve, only the variables lead there. */
  readonly names: boolean;
}

/** Arguments travel as arguments, never inside the script: nothing of the user's is parsed by the shell. */
const MOUNT_SCRIPT = 'mount --bind "$1" /etc/hosts && shift && exec "$@"';
/**
 * Mounting takes root of the namespace; the program then gets a namespace inside it, where it is the user
 * it was outside and has no right to mount.
 */
const USER_SCRIPT =
  'mount --bind "$1" /etc/hosts && uid=$2 gid=$3 && shift 3 && ' +
  'exec unshare --user --map-user="$uid" --map-group="$gid" -- "$@"';

/**
 * Pure: the process to start.
 * @throws `RUN_UNAVAILABLE` when there is no command
 */
export function planRun(request: RunRequest, kind: NamespaceKind, user: RunUser): RunPlan {
  const [file, ...args] = request.command;
  const { environment, hostsFile } = request;
  if (file === undefined) throw new MoatError('RUN_UNAVAILABLE', 'there is no command to run');
  if (kind === 'none') return { file, args, environment, names: false };
  const shell = ['sh', '-c', kind === 'mount' ? MOUNT_SCRIPT : USER_SCRIPT, 'moat-run', hostsFile];
  const unshare =
    kind === 'mount'
      ? ['--mount', '--', ...shell]
      : ['--user', '--map-root-user', '--mount', '--', ...shell, String(user.uid), String(user.gid)];
  return { file: 'unshare', args: [...unshare, ...request.command], environment, names: true };
}

/** Tries what works here, by really making one; takes at most `timeoutMs` for each of two attempts. */
export async function probeNamespaces(timeoutMs = 3_000): Promise<NamespaceKind> {
  const user = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const kinds: NamespaceKind[] = process.platform !== 'linux' ? [] : user.uid === 0 ? ['mount', 'user'] : ['user'];
  for (const kind of kinds) {
    // Showing the system's own file in its place changes nothing and takes the same rights.
    const plan = planRun({ command: ['true'], hostsFile: '/etc/hosts', environment: {} }, kind, user);
    const works = await new Promise<boolean>((resolve) => {
      execFile(plan.file, plan.args, { timeout: timeoutMs }, (error) => resolve(error === null));
    });
    if (works) return kind;
  }
  return 'none';
}
