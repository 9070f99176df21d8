/** Full TLS 1.3 handshakes, one after the other on each of so many connections; no session is ever shown again. */
import { setTimeout as delay } from 'node:timers/promises';
import { connect, createSecureContext } from 'node:tls';
import { cpuSeconds } from './processes.ts';
import type { MeasureOptions, Values } from './scenario.ts';
import type { Target } from './subject.ts';

export interface HandshakeLoad {
  readonly target: Target;
  readonly atOnce: number;
  /** Processes whose CPU time counts. */
  readonly pids: readonly number[];
}

/** `handshakesPerSecond`, `cpuUsPerHandshake`, `handshakesPerCore`. Fails when one fails. */
export async function handshakeLoad(load: HandshakeLoad, options: MeasureOptions): Promise<Values> {
  const { target, atOnce, pids } = load;
  const { signal } = options;
  const secureContext = createSecureContext({
    ...(target.ca === undefined ? {} : { ca: target.ca }),
    minVersion: 'TLSv1.3',
  });
  let done = 0;
  const over = new AbortController();
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const { address: host, port, hostname: servername } = target;
      const socket = connect({ host, port, servername, secureContext, ALPNProtocols: ['http/1.1'] });
      socket.once('error', reject);
      socket.once('secureConnect', () => {
        done += 1;
        if (socket.isSessionReused()) reject(new Error('a session was resumed'));
        socket.end();
        // Whatever it still says must be read for its end to be seen.
        socket.resume();
      });
      socket.once('close', () => resolve());
    });
  const workers = Promise.all(
    Array.from({ length: atOnce }, async () => {
      while (!over.signal.aborted) {
        await one();
      }
    }),
  );
  const stopped = workers.finally(() => over.abort());
  try {
    await Promise.race([delay(options.warmUpSeconds * 1_000, undefined, { signal }), stopped]);
    const [cpu, count, at] = [cpuSeconds(pids), done, performance.now()];
    await Promise.race([delay(options.seconds * 1_000, undefined, { signal }), stopped]);
    const seconds = (performance.now() - at) / 1_000;
    const handshakes = done - count;
    const cpuUsPerHandshake = ((cpuSeconds(pids) - cpu) / handshakes) * 1e6;
    return {
      handshakesPerSecond: handshakes / seconds,
      cpuUsPerHandshake,
      handshakesPerCore: 1e6 / cpuUsPerHandshake,
    };
  } finally {
    over.abort();
    await stopped;
  }
}
