/**
 * A client of HTTP/2 that does nothing wrong, as a process of its own: what a flood costs the one that makes it is not what
 * it costs others. Told `{ options, host }` once, then `{ count }`; answers each count with the 99th percentile.
 */
import { once } from 'node:events';
import { connect, type ClientHttp2Session, type SecureClientSessionOptions } from 'node:http2';

interface Told {
  readonly host?: string;
  readonly options?: SecureClientSessionOptions;
  readonly count?: number;
}

let host = '';
let options: SecureClientSessionOptions = {};
let session: ClientHttp2Session | undefined;

async function connected(): Promise<ClientHttp2Session> {
  // One that was idle for long is asked to leave, as by any server.
  if (session !== undefined && !session.closed && !session.destroyed) return session;
  session = connect(`https://${host}`, options);
  session.on('error', () => undefined);
  await once(session, 'connect');
  return session;
}

/** One after the other. */
async function served(count: number): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const good = await connected();
    const begin = performance.now();
    const stream = good.request({ ':path': '/', ':authority': host });
    const [head] = (await once(stream, 'response')) as [Record<string, unknown>];
    if (head[':status'] !== 200) throw new Error(`answered with ${String(head[':status'])}`);
    stream.resume();
    await once(stream, 'close');
    times.push(performance.now() - begin);
  }
  return times.toSorted((a, b) => a - b)[Math.ceil(count * 0.99) - 1] ?? 0;
}

process.on('message', (told: Told) => {
  host = told.host ?? host;
  options = told.options ?? options;
  if (told.count === undefined) return;
  served(told.count).then(
    (p99Ms) => process.send?.({ p99Ms }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.on('disconnect', () => process.exit(0));
