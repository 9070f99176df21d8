/** Network namespaces by their paths. */
import { stat } from 'node:fs/promises';
import { failure } from './errors.ts';

/** A network namespace as it is now. */
export interface Place {
  /** Null = ours. */
  readonly path: string | null;
  /** Tells one namespace from another that later has the same path. */
  readonly id: string;
}

const OURS = '/proc/self/ns/net';

/** The namespace at `path`; a path to our own is as null. @throws `TUNNEL_FAILED` when there is none. */
export async function placeOf(path: string | null): Promise<Place> {
  const ours = await identity(OURS);
  if (path === null) return { path: null, id: ours };
  let id: string;
  try {
    id = await identity(path);
  } catch (error) {
    const message = `there is no network namespace at ${path}`;
    throw failure('TUNNEL_FAILED', message, { cause: error, details: { namespace: path }, retryable: true });
  }
  return { path: id === ours ? null : path, id };
}

async function identity(path: string): Promise<string> {
  const { dev, ino } = await stat(path);
  return `${dev}:${ino}`;
}
