/** Two machines on one cable: network namespaces joined by a veth pair. Root only. */
import { existsSync } from 'node:fs';
import { missingPrograms, runTool } from './programs.ts';

/** Why there can be no namespaces here. */
export function namespacesMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'network namespaces need root';
  return missingPrograms('ip');
}

/** Why there can be no tunnel device here. */
export function tunMissing(): string | undefined {
  return namespacesMissing() ?? (existsSync('/dev/net/tun') ? undefined : 'there is no /dev/net/tun');
}

export interface NamespacePair extends AsyncDisposable {
  /** Namespace of the client and of what stands at the public edge. */
  readonly near: string;
  /** Namespace of the service. */
  readonly far: string;
}

export const NEAR_ADDRESS = '10.77.0.1';
export const FAR_ADDRESS = '10.77.0.2';
const PREFIX = 'moatbench';

/** Makes the pair; namespaces of runs that were killed go first. */
export async function createNamespacePair(): Promise<NamespacePair> {
  await removeLeftOvers();
  const [near, far] = [`${PREFIX}-${process.pid}-near`, `${PREFIX}-${process.pid}-far`];
  const pair: NamespacePair = {
    near,
    far,
    async [Symbol.asyncDispose]() {
      for (const namespace of [near, far]) await removeNamespace(namespace);
    },
  };
  try {
    for (const namespace of [near, far]) {
      await runTool('ip', ['netns', 'add', namespace]);
      await runTool('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
    }
    const ends = ['name', 'cable', 'netns', near, 'type', 'veth', 'peer', 'name', 'cable', 'netns', far];
    await runTool('ip', ['link', 'add', ...ends]);
    for (const [namespace, address] of [
      [near, NEAR_ADDRESS],
      [far, FAR_ADDRESS],
    ] as const) {
      await runTool('ip', ['-n', namespace, 'addr', 'add', `${address}/24`, 'dev', 'cable']);
      await runTool('ip', ['-n', namespace, 'link', 'set', 'cable', 'up']);
    }
  } catch (error) {
    await pair[Symbol.asyncDispose]();
    throw error;
  }
  return pair;
}

/** Namespaces are named after the process that made them: one that is gone left them behind. */
async function removeLeftOvers(): Promise<void> {
  const names = (await runTool('ip', ['netns', 'list'])).matchAll(/^(moatbench-(\d+)-\w+)/gm);
  for (const [, namespace = '', pid = ''] of names) {
    if (!existsSync(`/proc/${pid}`)) await removeNamespace(namespace);
  }
}

/** Ends what still runs in it, then removes it. */
async function removeNamespace(namespace: string): Promise<void> {
  try {
    for (const pid of (await runTool('ip', ['netns', 'pids', namespace])).split('\n')) {
      if (pid !== '') process.kill(Number(pid), 'SIGKILL');
    }
  } catch {
    // There is no such namespace, or its process ended just now.
  }
  await runTool('ip', ['netns', 'del', namespace]).catch(() => undefined);
}
