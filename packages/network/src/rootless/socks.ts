/**
 * A SOCKS5 server (RFC 1928, CONNECT, no authentication) that knows no destinations but private services.
 */
import type { LinkStream } from '@moat/core';

/** A destination the proxy may connect to. */
export interface SocksDestination {
  open(signal: AbortSignal): Promise<LinkStream>;
}

export interface SocksServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  stop(): Promise<void>;
}

export interface SocksDeps {
  /** `host` is a lower-case name or an IP address; undefined = not a destination of ours, which is refused. */
  resolve(host: string, port: number): SocksDestination | undefined;
}

/** @throws `LISTEN_FAILED` */
export function createSocks(deps: SocksDeps, options: { readonly port: number }): Promise<SocksServer> {
  return Promise.reject(new Error(`not built yet: ${options.port} ${String(deps)}`));
}
