/**
 * A spliced link beside a direct one: `npm run bench:splice`. Both ends of the link are in this thread, the anchor's
 * part (the joining of two sockets) in another, as on a machine of its own. Prints figures, asserts nothing about time.
 */
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { Worker, isMainThread, parentPort } from 'node:worker_threads';
import { systemClock, type Link, type LinkStream, type StreamEvents } from '@moat/core';
import { createSpliced } from '../../packages/link/test/spliced.ts';
import { BOB, LOOPBACK, createMachines } from '../../packages/link/test/linked.ts';
import { joinSockets } from '../../packages/link/src/splice-join.ts';

const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 3);
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 3);
const deployment = 'q7f3aaaaaaaaaaaaaaaaaaaaaa';
const nothing: StreamEvents = {
  onHead: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
};

/** The anchor's thread: the first two sockets that come, joined; then the next two. */
function joinAll(): void {
  const waiting: Socket[] = [];
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.pause();
      const first = waiting.pop();
      if (first === undefined) {
        waiting.push(socket);
        return;
      }
      for (const each of [first, socket]) each.write(Buffer.of(1));
      const never = 2 ** 31 - 1;
      const options = { clock: systemClock, idleMs: never, lifeMs: never, debit: () => 0, onOver: () => undefined };
      joinSockets(first, socket, options);
    });
  });
  server.listen(0, '127.0.0.1', () => parentPort?.postMessage((server.address() as AddressInfo).port));
}

/** As many bytes as the reader takes. */
function pourInto(stream: LinkStream): void {
  const block = Buffer.alloc(64 * 1024, 'y');
  const pour = (): void => {
    while (stream.write(block));
  };
  stream.listen({ ...nothing, onDrain: pour });
  stream.writeHead({ connected: true });
  pour();
}

/** MB/s of four streams. */
async function bulk(link: Link): Promise<number> {
  let bytes = 0;
  const streams = Array.from({ length: 4 }, () => {
    const stream = link.open({ deployment, service: 'bulk', kind: 'tcp' });
    stream.listen({ ...nothing, onData: (chunk) => (bytes += chunk.length) });
    return stream;
  });
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  for (const stream of streams) stream.reset('BENCH_OVER');
  return bytes / SECONDS / 1e6;
}

async function compare(anchorPort: number): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    const rates: Record<string, number> = {};
    for (const path of ['direct', 'spliced'] as const) {
      const machines =
        path === 'direct' ? await createMachines({ bob: { listen: LOOPBACK } }) : await createSpliced({ anchorPort });
      machines.accept = pourInto;
      const link = await machines.alice.connect(BOB, AbortSignal.timeout(10_000));
      if (link.path !== path) throw new Error(`the link is ${link.path}`);
      rates[path] = await bulk(link);
      await machines[Symbol.asyncDispose]();
    }
    const { direct = 0, spliced = 0 } = rates;
    console.log(
      `direct ${direct.toFixed(0)} MB/s  spliced ${spliced.toFixed(0)} MB/s  ratio ${(spliced / direct).toFixed(2)}`,
    );
  }
}

if (isMainThread) {
  const anchor = new Worker(new URL(import.meta.url));
  const [port] = (await once(anchor, 'message')) as [number];
  await compare(port);
  await anchor.terminate();
} else {
  joinAll();
}
