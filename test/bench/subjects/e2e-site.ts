/** What all end-to-end subjects share: two machines on a cable, and the service on the far one. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { BenchContext } from '../context.ts';
import { FAR_ADDRESS, createNamespacePair, type NamespacePair } from '../namespaces.ts';
import { filesServer, startNginxServer, writeBodies } from '../nginx-server.ts';

/**
 * Bodies the service has, by the name of their size, which is their path too. With nginx's header fields 1 KiB is 20
 * bytes longer than a packet of nebula, whose MTU is 1,300; 0.9k fits in one packet of every tunnel.
 */
export const BODY_BYTES = { '0.9k': 900, '1k': 2 ** 10, '64k': 2 ** 16, '1m': 2 ** 20 } as const;
/** Port of the service, on every address of the far machine. */
export const SERVICE_PORT = 8080;
/** Port of whatever is asked for a stream of bytes, on every address of the far machine. */
export const STREAM_PORT = 5201;

export interface E2eSite extends AsyncDisposable {
  readonly namespaces: NamespacePair;
}

/** One nginx with one worker: a cached file costs it less than any path here, and it does not get in their way. */
export async function createE2eSite(context: BenchContext): Promise<E2eSite> {
  const namespaces = await createNamespacePair();
  try {
    const bodies = Object.entries(BODY_BYTES).map(([name, bytes]) => [name, randomBytes(bytes)] as const);
    const root = await writeBodies(join(await context.newDir('bodies'), 'www'), Object.fromEntries(bodies));
    await startNginxServer(context, {
      name: 'service',
      namespace: namespaces.far,
      workers: 1,
      http: filesServer([String(SERVICE_PORT), `[::]:${SERVICE_PORT}`], root),
      ready: {
        target: { address: FAR_ADDRESS, port: SERVICE_PORT, hostname: 'service', namespace: namespaces.near },
        scheme: 'http',
        path: '/1k',
      },
    });
  } catch (error) {
    await namespaces[Symbol.asyncDispose]();
    throw error;
  }
  return { namespaces, [Symbol.asyncDispose]: () => namespaces[Symbol.asyncDispose]() };
}
