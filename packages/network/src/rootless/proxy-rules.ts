/** What the protocols of the proxy have in common. */
import type { LinkStream } from '@moat/core';

/** From the connection to the whole request, in milliseconds. */
export const HANDSHAKE_TIMEOUT_MS = 10_000;

/** A destination the proxy may connect to. */
export interface ProxyDestination {
  open(signal: AbortSignal): Promise<LinkStream>;
}

export interface ProxyDeps {
  /** `host` is a lower-case name without a final dot, or an IP address; undefined = refused. */
  resolve(host: string, port: number): ProxyDestination | undefined;
}

/** What the two protocols ask of the proxy. */
export interface ProxyRules extends ProxyDeps {
  readonly needsPassword: boolean;
  /** Takes the same time for every wrong answer. */
  isAllowed(user: string, password: string): boolean;
}
