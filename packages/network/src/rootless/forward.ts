/**
 * `moat forward SERVICE`: one service at a local port or Unix socket of the user's choice.
 */
import type { LinkStream } from '@moat/core';

/** Where a forward listens: a loopback port (0 = any free one), or a Unix socket (made 0600). */
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
export function createForward(deps: ForwardDeps, service: string, place: ForwardPlace): Promise<Forward> {
  return Promise.reject(new Error(`not built yet: ${service} ${JSON.stringify(place)} ${String(deps)}`));
}
