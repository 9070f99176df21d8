import { once } from 'node:events';
import { createServer } from 'node:net';

/** From here up to the ports that systems give to connections, which would be given away before they are used. */
const FIRST_PORT = 20_000;
/** Ports of one process: it counts them up, so that neither two calls nor two test files at a time get the same. */
const PER_PROCESS = 120;
const PROCESSES = 100;

let next = 0;

/** A TCP port of 127.0.0.1 that is free now, and that no other test and no connection gets meanwhile. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + (process.pid % PROCESSES) * PER_PROCESS + (next++ % PER_PROCESS);
    const server = createServer().listen(port, '127.0.0.1');
    try {
      await once(server, 'listening');
    } catch {
      continue;
    }
    server.close();
    await once(server, 'close');
    return port;
  }
}

/** As many of them. */
export async function freePorts<const N extends number>(count: N): Promise<number[] & { length: N }> {
  return (await Promise.all(Array.from({ length: count }, freePort))) as number[] & { length: N };
}
