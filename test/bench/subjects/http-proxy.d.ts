/** The part of http-proxy that is used here; it has no types of its own. */
declare module 'http-proxy' {
  import type { Agent, IncomingMessage, ServerResponse } from 'node:http';
  import type { Duplex } from 'node:stream';

  interface ProxyServer {
    web(request: IncomingMessage, response: ServerResponse): void;
    ws(request: IncomingMessage, socket: Duplex, head: Buffer): void;
    on(event: 'error', listener: (error: Error) => void): this;
  }
  const module: { createProxyServer(options: { target: string; agent?: Agent; ws?: boolean }): ProxyServer };
  export default module;
}
