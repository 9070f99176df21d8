/** A network namespace that no path leads to, kept by a process that does nothing else and outlives us. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { failure } from './errors.ts';
import { placeOf, type Place } from './namespace.ts';

/** How a later process finds it. */
export interface Hidden {
  readonly pid: number;
  readonly place: Place;
}

/** To start two small programs. */
const DEADLINE_MS = 10_000;

/** Makes one. A mount in /run/netns would end with the mount namespace of a service; a process does not. */
export async function openHidden(): Promise<Hidden> {
  const child = spawn('unshare', ['--net', '--', 'sh', '-c', 'echo; exec sleep infinity >/dev/null'], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin' },
    cwd: '/',
    detached: true,
  });
  try {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    const ended = once(child, 'exit', { signal }).then(() => {
      throw new Error('it ended');
    });
    await Promise.race([once(child.stdout, 'data', { signal }), ended]);
    const pid = child.pid ?? 0;
    return { pid, place: await placeOf(`/proc/${pid}/ns/net`) };
  } catch (error) {
    child.kill('SIGKILL');
    throw failure('TUNNEL_FAILED', 'no network namespace could be made', { cause: error, retryable: true });
  } finally {
    child.stdout.destroy();
    child.unref();
  }
}

/** The namespace of a record, while it is still the one that was made. */
export async function findHidden({ pid, place }: Hidden): Promise<Place | undefined> {
  const now = await placeOf(`/proc/${pid}/ns/net`).catch(() => undefined);
  return now?.id === place.id ? now : undefined;
}

/** Ends it with all that is in it. */
export async function closeHidden(hidden: Hidden): Promise<void> {
  if ((await findHidden(hidden)) === undefined) return;
  try {
    process.kill(hidden.pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}
