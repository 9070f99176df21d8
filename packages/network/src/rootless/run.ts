/**
 * `moat run -- CMD`: starts a program that knows the private network's names.
 * Best: own user and mount namespace in which /etc/hosts is ours; else environment variables only.
 */

/** What this machine lets us do: a mount namespace (root), a user namespace (anyone), or neither. */
export type NamespaceKind = 'mount' | 'user' | 'none';

export interface RunRequest {
  readonly command: readonly string[];
  /** File to show as /etc/hosts: the system's own lines and ours. */
  readonly hostsFile: string;
  /** From `environmentOf`. */
  readonly environment: Readonly<Record<string, string>>;
}

export interface RunPlan {
  readonly file: string;
  readonly args: readonly string[];
  /** To add to the environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** False = names do not resolve, only the variables lead there. */
  readonly names: boolean;
}

/** Pure: the process to start. */
export function planRun(request: RunRequest, kind: NamespaceKind, ids: { uid: number; gid: number }): RunPlan {
  throw new Error(`not built yet: ${kind} ${ids.uid} ${request.command.join(' ')}`);
}

/** Tries what works here, by really making one; takes at most `timeoutMs`. */
export function probeNamespaces(timeoutMs?: number): Promise<NamespaceKind> {
  return Promise.reject(new Error(`not built yet: ${timeoutMs}`));
}
