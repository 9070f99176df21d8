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

interface Entry {
  readonly stored: StoredForward;
  /** Undefined for a kept one that could not be opened, with the reason. */
  readonly forward: Forward | undefined;
  readonly code?: string;
  readonly kept: boolean;
}

/** Bound: {@link MAX_FORWARDS}. */
export class Forwards {
  readonly #deps: ForwardsDeps;
  readonly #entries = new Map<string, Entry>();

  constructor(deps: ForwardsDeps) {
    this.#deps = deps;
  }

  /** Opens the ones that were kept; one that cannot be opened is reported, and listed with its code. */
  async start(): Promise<void> {
    for (const stored of this.#deps.store.forwards()) {
      try {
        await this.#listen(stored, true);
      } catch (error) {
        this.#entries.set(stored.id, { stored, forward: undefined, code: errorCode(error), kept: true });
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
    return [...this.#entries.values()].map(({ stored, forward, code }) => ({
      id: stored.id,
      deployment: stored.deployment,
      service: stored.service,
      local: forward === undefined ? stored.local : formatPlace(forward.place),
      ...(code === undefined ? {} : { code }),
    }));
  }

  /** @throws `FORWARD_INVALID`, `FORWARD_LIMIT`, `LISTEN_FAILED`, `DISK_FULL` */
  async add(deployment: DeploymentId, service: string, local: string, kept: boolean): Promise<ForwardStatus> {
    if (this.#entries.size >= MAX_FORWARDS)
      throw new MoatError('FORWARD_LIMIT', `the agent holds ${MAX_FORWARDS} forwards`);
    const stored = { id: randomUUID().slice(0, 8), deployment, service, local };
    const forward = await this.#listen(stored, kept);
    // The port in fact: a forward on any free port keeps it over restarts.
    const opened = { ...stored, local: formatPlace(forward.place) };
    if (kept) {
      try {
        this.#deps.store.saveForward(opened);
      } catch (error) {
        this.#entries.delete(stored.id);
        await forward.stop();
        throw error;
      }
    }
    return opened;
  }

  /** @throws `FORWARD_UNKNOWN` */
  async remove(id: string): Promise<void> {
    const entry = this.#entries.get(id);
    if (entry === undefined) throw new MoatError('FORWARD_UNKNOWN', `no forward ${id.slice(0, 64)}`);
    if (entry.kept) this.#deps.store.deleteForward(id);
    this.#entries.delete(id);
    await entry.forward?.stop();
  }

  /** Closes those of a deployment that was left. */
  async forget(deployment: DeploymentId): Promise<void> {
    const gone = [...this.#entries.values()].filter(({ stored }) => stored.deployment === deployment);
    await Promise.all(gone.map(({ stored }) => this.remove(stored.id)));
  }

  /** TCP ports that forwards listen on. */
  *sockets(): Iterable<SocketAddress> {
    for (const { forward } of this.#entries.values()) {
      const place = forward?.place;
      if (place !== undefined && 'port' in place) yield { host: place.host ?? '127.0.0.1', port: place.port };
    }
  }

  async stop(): Promise<void> {
    await Promise.allSettled([...this.#entries.values()].flatMap(({ forward }) => forward?.stop() ?? []));
    this.#entries.clear();
  }

  async #listen(stored: StoredForward, kept: boolean): Promise<Forward> {
    const { deployment } = stored;
    const place = parsePlace(stored.local);
    if ('port' in place && !this.#deps.loopback) throw invalid('access is private here: only unix:/path');
    const open = (service: string, signal: AbortSignal): Promise<LinkStream> =>
      this.#deps.open(deployment, service, signal);
    const forward = await createForward({ open }, stored.service, place);
    this.#entries.set(stored.id, { stored, forward, kept });
    return forward;
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
