/**
 * `moat forward SERVICE`: one service at a local port or Unix socket of the user's choice.
 */
import { lstat, unlink } from 'node:fs/promises';
import { connect } from 'node:net';
import type { LinkStream } from '@moat/core';
import { LocalPort, joinSocket, listenFailed } from '../local-port.ts';

/** Where a forward listens: a port of `host` (127.0.0.1; 0 = any free port), or a Unix socket (made 0600). */
export type ForwardPlace = { readonly host?: string; readonly port: number } | { readonly path: string };

export interface Forward extends AsyncDisposable {
  readonly service: string;
  /** Where it listens in fact. */
  readonly place: ForwardPlace;
  /** Stops listening and ends its connections. */
  stop(): Promise<void>;
}

export interface ForwardDeps {
  open(service: string, signal: AbortSignal): Promise<LinkStream>;
}

/** @throws `LISTEN_FAILED` */
export async function createForward(deps: ForwardDeps, service: string, place: ForwardPlace): Promise<Forward> {
  const local = new LocalPort((socket) => {
    void joinSocket(socket, (signal) => deps.open(service, signal));
  });
  try {
    if ('path' in place) await listenAtPath(local, place.path);
    else await local.listen({ host: place.host ?? '127.0.0.1', port: place.port });
  } catch (cause) {
    const where = 'path' in place ? place.path : String(place.port);
    throw listenFailed(`cannot listen at ${where}`, cause, { service });
  }
  const stop = (): Promise<void> => local.close();
  return {
    service,
    place: 'path' in place ? place : { host: place.host ?? '127.0.0.1', port: local.port },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

async function listenAtPath(local: LocalPort, path: string): Promise<void> {
  await removeStale(path);
  // The socket file is made inside this call, so nobody sees it with wider rights.
  const mask = process.umask(0o177);
  let listening: Promise<void>;
  try {
    listening = local.listen({ path });
  } finally {
    process.umask(mask);
  }
  await listening;
}

/** A socket file nobody listens at is left from a crash; anything else at the path stays. */
async function removeStale(path: string): Promise<void> {
  const stats = await lstat(path).catch(() => undefined);
  if (!stats?.isSocket()) return;
  const stale = await new Promise<boolean>((resolve) => {
    const probe = connect({ path });
    probe.once('connect', () => resolve(false)).once('error', () => resolve(true));
    probe.once('connect', () => probe.destroy());
  });
  if (stale) await unlink(path);
}
