/**
 * UDP packets of two machines through a link over a TLS-PSK socket on loopback:
 * `node --conditions=@moat/source test/bench/packets.ts`. A process of its own sends and receives; both rides and both ends
 * of the link share another, so a real end costs about half. Prints figures, asserts nothing about time.
 */
import { fork, type ChildProcess } from 'node:child_process';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { silentLogger, systemClock, type Endpoint, type PeerId } from '@moat/core';
import { createLinks, type LinkService } from '@moat/link';
import { LinkRide } from '@moat/network';
import { createMemoryNetwork } from '@moat/testkit';
import { deployment } from './link-service.ts';

const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 3);
/** What WireGuard makes of a packet of 1420 bytes. */
const PACKET_BYTES = 1452;

interface Load {
  readonly to: Endpoint;
  /** Packets a second; 0 = as many as the socket takes. */
  readonly rate: number;
}

interface Counted {
  readonly sent: number;
  readonly received: number;
}

if (process.argv[2] === 'load') await load();
else await main();

async function main(): Promise<void> {
  const child = fork(import.meta.filename, ['load'], { execArgv: ['--conditions=@moat/source'] });
  const [ports] = (await once(child, 'message')) as [{ readonly from: number; readonly to: number }];
  const signal = AbortSignal.timeout(60_000);
  const network = createMemoryNetwork();
  const rides = new Map<PeerId, LinkRide>();
  const make = async (self: PeerId, peer: PeerId, wireguardPort: number): Promise<LinkService> => {
    const control = network.join(self);
    const links = createLinks(
      { logger: silentLogger, clock: systemClock, control, accept: (stream) => rides.get(self)?.take(stream) },
      { role: 'member', mayLink: () => true, listen: { host: '127.0.0.1', port: 0 } },
    );
    await links.start({ signal });
    const ride = new LinkRide(
      { links, clock: systemClock, logger: silentLogger },
      { deployment, peer, wireguardPort, leads: self < peer },
    );
    await ride.start();
    rides.set(self, ride);
    return links;
  };
  const alice = await make('12D3KooWAlice', '12D3KooWBob', ports.from);
  const bob = await make('12D3KooWBob', '12D3KooWAlice', ports.to);
  network.connect('12D3KooWAlice', '12D3KooWBob');
  const ride = rides.get('12D3KooWAlice') as LinkRide;
  for (const rate of [1_000, 10_000, 20_000, 0]) await measure(child, ride, { to: ride.endpoint, rate });
  child.disconnect();
  for (const each of rides.values()) await each.close();
  await Promise.all([alice.stop(), bob.stop()]);
}

async function measure(child: ChildProcess, ride: LinkRide, order: Load): Promise<void> {
  const cpu = process.cpuUsage();
  const before = ride.counts;
  child.send(order);
  const [{ sent, received }] = (await once(child, 'message')) as [Counted];
  const { user, system } = process.cpuUsage(cpu);
  const dropped = ride.counts.dropped - before.dropped;
  const megabits = (received * PACKET_BYTES * 8) / SECONDS / 1e6;
  const figures = [
    order.rate === 0 ? 'as many as it takes' : `${order.rate}/s`,
    `${Math.round(sent / SECONDS)} sent/s`,
    `${Math.round(received / SECONDS)} received/s`,
    `${megabits.toFixed(0)} Mbit/s`,
    `${dropped} dropped for credit`,
    `${((user + system) / Math.max(1, received)).toFixed(1)} µs CPU a packet, both ends`,
  ];
  process.stdout.write(`${figures.join(', ')} (${ride.path ?? 'no path'})\n`);
}

/** Sends from one socket and counts at another, as often as it is told. */
async function load(): Promise<void> {
  const [from, to] = await Promise.all([bound(), bound()]);
  let received = 0;
  to.on('message', () => {
    received += 1;
  });
  process.send?.({ from: from.address().port, to: to.address().port });
  process.on('message', (order) => {
    const { to: target, rate } = order as Load;
    received = 0;
    const begun = performance.now();
    const packet = Buffer.alloc(PACKET_BYTES, 4);
    let sent = 0;
    let unsent = 0;
    const turn = (): void => {
      const elapsed = performance.now() - begun;
      if (elapsed >= SECONDS * 1000) return void setTimeout(() => process.send?.({ sent, received }), 200);
      const due = rate === 0 ? 32 : Math.min(64, Math.floor((elapsed * rate) / 1000) - sent);
      for (let i = 0; i < due && unsent < 64; i++) {
        unsent += 1;
        sent += 1;
        from.send(packet, target.port, target.host, () => {
          unsent -= 1;
        });
      }
      setImmediate(turn);
    };
    turn();
  });
  process.on('disconnect', () => process.exit(0));
}

async function bound(): Promise<Socket> {
  const socket = createSocket({ type: 'udp4', lookup: (host, _, callback) => callback(null, host, 4) });
  // Before `bind`, which says it at once where no name is looked up.
  const listening = once(socket, 'listening');
  socket.bind(0, '127.0.0.1');
  await listening;
  socket.setRecvBufferSize(1024 * 1024);
  return socket;
}
