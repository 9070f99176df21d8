/** One question to a router by http: of bounded size and time, and never led elsewhere. */
import { request as httpRequest } from 'node:http';
import { MoatError, isMoatError, type Clock } from '@moat/core';
import { createDeadline, orAborted } from '../deadline.ts';

/** Milliseconds for a whole answer. */
const ANSWER_MS = 2_000;
const [MOST_BYTES, MOST_HEAD_BYTES] = [65_536, 8_192];

export interface RouterQuestion {
  /** At the router's own address. */
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** With one it is a POST. */
  readonly body?: string;
}

export interface RouterAnswer {
  readonly status: number;
  /** One character a byte: what is not ASCII means nothing to us. */
  readonly text: string;
}

/**
 * @throws `ROUTER_SILENT` when there is no answer in time, `ROUTER_INVALID` for what is no HTTP, a redirect, or more than
 * 64 KiB, or the signal's reason
 */
export async function askByHttp(clock: Clock, question: RouterQuestion, signal: AbortSignal): Promise<RouterAnswer> {
  signal.throwIfAborted();
  using deadline = createDeadline(clock, ANSWER_MS, signal);
  try {
    // Node says nothing at all of an answer that switches protocols.
    return await orAborted(exchange(question, deadline.signal), deadline.signal);
  } catch (error) {
    signal.throwIfAborted();
    if (isMoatError(error, 'ROUTER_INVALID')) throw error;
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (code.startsWith('HPE_')) throw invalid('the router does not answer in HTTP', error);
    throw new MoatError('ROUTER_SILENT', 'no answer by http', { cause: error });
  }
}

function exchange({ url, headers, body }: RouterQuestion, signal: AbortSignal): Promise<RouterAnswer> {
  const { promise, resolve, reject } = Promise.withResolvers<RouterAnswer>();
  const request = httpRequest(
    {
      host: url.hostname,
      port: url.port === '' ? 80 : Number(url.port),
      path: `${url.pathname}${url.search}`,
      method: body === undefined ? 'GET' : 'POST',
      headers: { host: url.host, connection: 'close', ...headers },
      agent: false,
      maxHeaderSize: MOST_HEAD_BYTES,
      signal,
    },
    (response) => {
      const status = response.statusCode ?? 0;
      const chunks: Buffer[] = [];
      let bytes = 0;
      const refuse = (why: string): void => {
        reject(invalid(why));
        request.destroy();
      };
      if (status >= 300 && status < 400) return refuse('the router points elsewhere');
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > MOST_BYTES) return refuse('the router says too much');
        chunks.push(chunk);
      });
      response.on('error', reject);
      response.on('end', () => resolve({ status, text: Buffer.concat(chunks).toString('latin1') }));
    },
  );
  request.on('error', reject);
  request.end(body);
  return promise;
}

function invalid(message: string, cause?: unknown): MoatError<'ROUTER_INVALID'> {
  return new MoatError('ROUTER_INVALID', message, cause === undefined ? {} : { cause });
}
