/** Local listeners of the operator's choice that lead to services. */
import { randomUUID } from 'node:crypto';
import { isAbsolute } from 'node:path';
import { MoatError, errorCode, type DeploymentId, type LinkStream, type Logger } from '@moat/core';
import { createForward, type Forward, type ForwardPlace, type SocketAddress } from '@moat/network';
import type { Forward as ForwardStatus } from '@moat/admin-api';
import type { MachineStore, StoredForward } from './store/machine-store.ts';

const MAX_FORWARDS = 256;

export interface ForwardsDeps {
  readonly store: Pick<MachineStore, 'forwards' | 'saveForward' | 'deleteForward'>;
  readonly logger: Logger;
  /** False: only Unix sockets, since every user of the machine reaches a loopback port. */
  readonly loopback: boolean;
  /** @throws `NOT_A_MEMBER` when this machine has no place there. */
  readonly open: (deployment: DeploymentId, service: string, signal: AbortSignal) => Promise<LinkStream>;
}

interface Open {
  readonly stored: StoredForward;
  readonly forward: Forward;
  readonly kept: boolean;
}

/** Bound: {@link MAX_FORWARDS}. */
export class Forwards {
  readonly #deps: ForwardsDeps;
  readonly #open = new Map<string, Open>();

  constructor(deps: ForwardsDeps) {
    this.#deps = deps;
  }

  /** Opens the ones that were kept; one that cannot be opened is reported and left out. */
  async start(): Promise<void> {
    for (const stored of this.#deps.store.forwards()) {
      try {
        await this.#listen(stored, true);
      } catch (error) {
        this.#deps.logger.warn(
          {
            component: 'node.forwards',
            deployment: stored.deployment,
            service: stored.service,
            code: errorCode(error),
            err: error,
          },
          'forward not opened',
        );
      }
    }
  }

  list(): readonly ForwardStatus[] {
    return [...this.#open.values()].map(({ stored, forward }) => ({
      id: stored.id,
      deployment: stored.deployment,
      service: stored.service,
      local: formatPlace(forward.place),
    }));
  }

  /** @throws `FORWARD_INVALID`, `FORWARD_LIMIT`, `LISTEN_FAILED`, `DISK_FULL` */
  async add(deployment: DeploymentId, service: string, local: string, kept: boolean): Promise<ForwardStatus> {
    if (this.#open.size >= MAX_FORWARDS)
      throw new MoatError('FORWARD_LIMIT', `the agent holds ${MAX_FORWARDS} forwards`);
    const forward = await this.#listen({ id: randomUUID().slice(0, 8), deployment, service, local }, kept);
    const { stored } = forward;
    if (kept) {
      try {
        // The port in fact: a forward on any free port keeps it over restarts.
        this.#deps.store.saveForward({ ...stored, local: formatPlace(forward.forward.place) });
      } catch (error) {
        await this.remove(stored.id);
        throw error;
      }
    }
    return { id: stored.id, deployment, service, local: formatPlace(forward.forward.place) };
  }

  /** @throws `FORWARD_UNKNOWN` */
  async remove(id: string): Promise<void> {
    const open = this.#open.get(id);
    if (open === undefined) throw new MoatError('FORWARD_UNKNOWN', `no forward ${id.slice(0, 64)}`);
    if (open.kept) this.#deps.store.deleteForward(id);
    this.#open.delete(id);
    await open.forward.stop();
  }

  /** Closes those of a deployment that was left. */
  async forget(deployment: DeploymentId): Promise<void> {
    const gone = [...this.#open.values()].filter(({ stored }) => stored.deployment === deployment);
    await Promise.all(gone.map(({ stored }) => this.remove(stored.id)));
  }

  /** TCP ports that forwards listen on. */
  *sockets(): Iterable<SocketAddress> {
    for (const { forward } of this.#open.values()) {
      const { place } = forward;
      if ('port' in place) yield { host: place.host ?? '127.0.0.1', port: place.port };
    }
  }

  async stop(): Promise<void> {
    await Promise.allSettled([...this.#open.values()].map(({ forward }) => forward.stop()));
    this.#open.clear();
  }

  async #listen(stored: StoredForward, kept: boolean): Promise<Open> {
    const { deployment } = stored;
    const place = parsePlace(stored.local);
    if ('port' in place && !this.#deps.loopback) throw invalid('access is private here: only unix:/path');
    const open = (service: string, signal: AbortSignal): Promise<LinkStream> =>
      this.#deps.open(deployment, service, signal);
    const forward = await createForward({ open }, stored.service, place);
    const entry = { stored, forward, kept };
    this.#open.set(stored.id, entry);
    return entry;
  }
}

/** @throws `FORWARD_INVALID` */
function parsePlace(local: string): ForwardPlace {
  if (local.startsWith('unix:')) {
    const path = local.slice('unix:'.length);
    if (isAbsolute(path) && Buffer.byteLength(path) < 108) return { path };
    throw invalid('a socket path is absolute and shorter than 108 bytes');
  }
  const match = /^(?:(127(?:\.\d{1,3}){3}|localhost):)?(\d{1,5})$/.exec(local);
  const port = Number(match?.[2]);
  if (match === null || port > 65_535) throw invalid('write a port, a loopback address with a port, or unix:/path');
  const host = match[1];
  return host === undefined || host === 'localhost' ? { port } : { host, port };
}

function formatPlace(place: ForwardPlace): string {
  return 'path' in place ? `unix:${place.path}` : `${place.host ?? '127.0.0.1'}:${place.port}`;
}

function invalid(message: string): MoatError<'FORWARD_INVALID'> {
  return new MoatError('FORWARD_INVALID', message);
}
