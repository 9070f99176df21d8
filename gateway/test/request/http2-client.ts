/** A client of HTTP/2 that keeps everything an answer consists of. */
import { connect, type ClientHttp2Session, type ClientHttp2Stream, type OutgoingHttpHeaders } from 'node:http2';
import { HOST, type EdgeUnderTest } from '../edge-under-test.ts';

export interface Http2Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly trailers: Record<string, string | string[] | undefined>;
  /** Interim answers. */
  readonly interim: readonly Record<string, unknown>[];
  readonly body: Buffer;
  readonly rstCode: number;
  /** The stream ended with its head. */
  readonly endedWithHead: boolean;
}

export function connectHttp2(edge: EdgeUnderTest, servername: string = HOST): ClientHttp2Session & AsyncDisposable {
  const session = connect(`https://${servername}`, {
    ca: edge.ca,
    servername,
    host: '127.0.0.1',
    port: edge.edge.httpsPort,
  });
  session.on('error', () => undefined);
  return Object.assign(session, {
    [Symbol.asyncDispose]: (): Promise<void> =>
      new Promise((resolve) => {
        if (session.closed && session.destroyed) return resolve();
        session.once('close', () => resolve());
        session.destroy();
      }),
  });
}

/** What comes back on a stream, once it is closed. */
export function answerOf(stream: ClientHttp2Stream): Promise<Http2Answer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    const interim: Record<string, unknown>[] = [];
    let headers: Http2Answer['headers'] = {};
    let trailers: Http2Answer['trailers'] = {};
    let endedWithHead = false;
    stream.on('error', () => undefined);
    stream.on('headers', (more) => interim.push(more));
    stream.on('response', (head, flags) => {
      headers = head;
      endedWithHead = (flags & 1) !== 0;
    });
    stream.on('trailers', (last) => (trailers = last as Http2Answer['trailers']));
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('close', () =>
      resolve({
        status: Number(headers[':status'] ?? 0),
        headers,
        trailers,
        interim,
        body: Buffer.concat(chunks),
        rstCode: stream.rstCode ?? 0,
        endedWithHead,
      }),
    );
  });
}

/** One request to its end. */
export function ask(
  session: ClientHttp2Session,
  headers: OutgoingHttpHeaders = {},
  body?: string | Buffer,
): Promise<Http2Answer> {
  const stream = session.request({ ':path': '/', ':authority': HOST, ...headers }, { endStream: body === undefined });
  const answered = answerOf(stream);
  if (body !== undefined) stream.end(body);
  return answered;
}
