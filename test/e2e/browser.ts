/** A client as the public has it: https by name, trusting only the gateway's own CA, connecting where the gateway listens. */
import { once } from 'node:events';
import { request as httpsRequest, type Agent } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';

export interface BrowserOptions {
  /** Where the gateway listens. */
  readonly port: number;
  /** PEM of the gateway's CA. */
  readonly ca: string;
}

export interface RequestOptions {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Uint8Array;
  readonly agent?: Agent;
  /** SNI, when it shall differ from the host. */
  readonly servername?: string;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly trailers: NodeJS.Dict<string>;
  readonly hints: number;
  readonly text: string;
}

export class Browser {
  readonly #options: BrowserOptions;

  constructor(options: BrowserOptions) {
    this.#options = options;
  }

  /** Options for any TLS client that shall reach `host`. */
  tls(host: string): { host: string; port: number; servername: string; ca: string } {
    return { host: '127.0.0.1', port: this.#options.port, servername: host, ca: this.#options.ca };
  }

  /** Sends a request and hands over the response as it starts. */
  async open(
    host: string,
    options: RequestOptions = {},
  ): Promise<{ response: IncomingMessage; hints: number; socket: TLSSocket }> {
    const request = httpsRequest({
      ...this.tls(host),
      servername: options.servername ?? host,
      method: options.method ?? 'GET',
      path: options.path ?? '/',
      headers: { host: `${host}:${this.#options.port}`, ...options.headers },
      ...(options.agent ? { agent: options.agent } : { agent: false }),
    });
    let hints = 0;
    request.on('information', () => (hints += 1));
    request.end(options.body);
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    return { response, hints, socket: request.socket as TLSSocket };
  }

  async fetch(host: string, options: RequestOptions = {}): Promise<Answer> {
    const { response, hints } = await this.open(host, options);
    response.setEncoding('utf8');
    let text = '';
    for await (const chunk of response as AsyncIterable<string>) text += chunk;
    return { status: response.statusCode ?? 0, headers: response.headers, trailers: response.trailers, hints, text };
  }
}
