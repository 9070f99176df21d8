/** One https request, also to `*.localhost` where the system's resolver does not know it. */
import { readFileSync } from 'node:fs';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { isIP } from 'node:net';
import { rootCertificates } from 'node:tls';

const MAX_BODY_BYTES = 1024 * 1024;

export interface HttpsOptions {
  readonly signal: AbortSignal;
  /** PEM file trusted besides the usual authorities. */
  readonly caFile?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface HttpsAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Rejects with Node's error when nobody answers. */
export function httpsGet(url: string, options: HttpsOptions): Promise<HttpsAnswer> {
  const { hostname, port, host, pathname, search } = new URL(url);
  // RFC 6761 §6.3: *.localhost is loopback, whatever the resolver says.
  const local = hostname === 'localhost' || hostname.endsWith('.localhost');
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: local ? '127.0.0.1' : hostname,
        // An address is none (RFC 6066 §3): none is sent.
        servername: isIP(hostname.replace(/^\[|\]$/g, '')) === 0 ? hostname : '',
        port: port === '' ? 443 : Number(port),
        path: pathname + search,
        method: options.method ?? 'GET',
        headers: { host, ...options.headers },
        agent: false,
        signal: options.signal,
        ...(options.caFile === undefined ? {} : { ca: [...rootCertificates, readFileSync(options.caFile, 'utf8')] }),
      },
      (response) => {
        const chunks: Buffer[] = [];
        let bytes = 0;
        response.on('data', (chunk: Buffer) => {
          bytes += chunk.length;
          if (bytes > MAX_BODY_BYTES) response.destroy(new Error('the answer has more than 1 MiB'));
          else chunks.push(chunk);
        });
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: Buffer.concat(chunks).toString('utf8'),
          }),
        );
      },
    );
    sent.on('error', reject);
    sent.end(options.body);
  });
}
