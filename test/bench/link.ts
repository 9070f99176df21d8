/**
 * A link over a TLS-PSK socket on loopback, both ends in one process: `node --conditions=@moat/source test/bench/link.ts`.
 * Prints figures, asserts nothing about time. One process does the work of two machines, so a real end costs about half.
 */
import { silentLogger, systemClock, type Link } from '@moat/core';
import { createLinks, type LinkService } from '@moat/link';
import { createMemoryNetwork } from '@moat/testkit';
import { deployment, head, nothing, serve } from './link-service.ts';

const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 3);

async function requests(link: Link, inFlight: number): Promise<void> {
  let done = 0;
  let running = true;
  const until = performance.now() + SECONDS * 1000;
  const cpu = process.cpuUsage();
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      while (running) {
        await new Promise<void>((resolve, reject) => {
          const stream = link.open({ deployment, service: 'web', kind: 'http' }, head);
          stream.listen({ ...nothing, onClose: (code) => (code === undefined ? resolve() : reject(new Error(code))) });
          stream.end();
        });
        done += 1;
        running = performance.now() < until;
      }
    }),
  );
  const { user, system } = process.cpuUsage(cpu);
  print(
    `1 KiB requests, ${inFlight} in flight`,
    `${Math.round(done / SECONDS)}/s`,
    `${((user + system) / done).toFixed(1)} µs CPU`,
  );
}

async function bulk(link: Link, streams: number): Promise<void> {
  let bytes = 0;
  const open = Array.from({ length: streams }, () => {
    const stream = link.open({ deployment, service: 'bulk', kind: 'tcp' });
    stream.listen({
      ...nothing,
      onData: (chunk) => {
        bytes += chunk.length;
      },
    });
    return stream;
  });
  const cpu = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  const { user, system } = process.cpuUsage(cpu);
  const rate = bytes / SECONDS / 1e6;
  print(
    `bulk, ${streams} streams`,
    `${rate.toFixed(0)} MB/s`,
    `${((user + system) / 1e6 / (bytes / 1e9)).toFixed(2)} s CPU/GB`,
  );
  for (const stream of open) stream.reset('BENCH_OVER');
}

function print(what: string, rate: string, cost: string): void {
  console.log(`${what.padEnd(32)} ${rate.padStart(12)}  ${cost}`);
}

/** A link with a gateway ends with its socket; one between members can move, and keeps what is not acknowledged. */
async function measure(role: 'gateway' | 'member', run: (link: Link) => Promise<void>): Promise<void> {
  const network = createMemoryNetwork();
  const signal = AbortSignal.timeout(120_000);
  const make = (peer: string, listen: boolean): LinkService =>
    createLinks(
      { logger: silentLogger, clock: systemClock, control: network.join(peer), accept: serve },
      // Both ends share one process, so the peer opens faster than any real one: the rate must not count here.
      {
        role: listen ? role : 'member',
        mayLink: () => true,
        limits: { opens: { perSecond: 1e9, burst: 1e9 } },
        ...(listen ? { listen: { host: '127.0.0.1', port: 0 } } : {}),
      },
    );
  const alice = make('12D3KooWAlice', false);
  const bob = make('12D3KooWBob', true);
  await Promise.all([alice.start({ signal }), bob.start({ signal })]);
  network.connect('12D3KooWAlice', '12D3KooWBob');
  console.log(role === 'member' ? 'a link that can move' : 'a link that ends with its socket');
  await run(await alice.connect('12D3KooWBob', signal));
  await Promise.all([alice.stop(), bob.stop()]);
}

const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 1);
for (let round = 0; round < ROUNDS; round++) {
  for (const role of ['gateway', 'member'] as const) {
    await measure(role, async (link) => {
      for (const inFlight of [1, 64, 512]) await requests(link, inFlight);
      for (const streams of [1, 8]) await bulk(link, streams);
    });
  }
}
