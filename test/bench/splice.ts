/**
 * What a link costs by its path: a socket of its own, two sockets that an anchor joins, one libp2p stream. `npm run
 * bench:splice`, interleaved. The two machines and the anchor are three threads with a real overlay each. On two cores a
 * spliced link has three threads to share them with where a direct link has two, so that more machines do better.
 * Prints figures, asserts nothing about time.
 */
import { once } from 'node:events';
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads';
import { silentLogger, systemClock, type Link } from '@moat/core';
import { createNodeKey, type NodeKey } from '@moat/identity';
import { createLinks, type LinksOptions } from '@moat/link';
import { eventually } from '../e2e/machine.ts';
import { LISTEN, startAnchor, startPeer, type Peer } from '../conformance/libp2p-links.ts';
import { deployment, head, nothing, serve } from './link-service.ts';
import { median, quantile } from './statistics.ts';

const SECONDS = Number(process.env['BENCH_SECONDS'] ?? 1.5);
const ROUNDS = Number(process.env['BENCH_ROUNDS'] ?? 5);
const PATHS = ['direct', 'spliced', 'stream'] as const;
/** Streams at once of each workload; `bulk` is what the service pours, the others fetch 1 KiB again and again. */
const WORKLOADS = { 'bulk/c4': 4, '1k/c1': 1, '1k/c64': 64 } as const;

type Path = (typeof PATHS)[number];
type Workload = keyof typeof WORKLOADS;

interface Figures {
  /** Requests or MB in a second. */
  readonly rate: number;
  /** µs of CPU for one of them. */
  readonly nearUs: number;
  readonly farUs: number;
  readonly anchorUs: number;
  readonly p50Ms: number;
}

/** Another thread's machine. */
interface Far {
  readonly peer: string;
  readonly addresses: Readonly<Record<Path, readonly string[]>>;
}

/** Microseconds that the threads have worked. */
interface Worked {
  readonly near: number;
  readonly far: number;
  readonly anchor: number;
}

/** Not what is measured here: how much one peer may do. */
const LINKS: Partial<LinksOptions> = { limits: { opens: { perSecond: 1e9, burst: 1e9 } } };
const SPLICE = { bytesPerSecondPerPeer: 1e12, bytesPerSecondPerAddress: 1e12 } as const;
const LOOPBACK = { host: '127.0.0.1', port: 0 } as const;

async function runAnchor(): Promise<void> {
  const overlay = await startAnchor();
  const links = createLinks(
    { logger: silentLogger, clock: systemClock, control: overlay, accept: (stream) => stream.reset('SERVICE_UNKNOWN') },
    { role: 'gateway', mayLink: () => false, listen: LOOPBACK, splice: SPLICE },
  );
  await links.start({ signal: AbortSignal.timeout(20_000) });
  parentPort?.postMessage(overlay.addresses());
}

/** The machine that answers, once for each path. */
async function runFar(near: string, anchors: readonly string[]): Promise<void> {
  const key = createNodeKey();
  const start = async (path: Path): Promise<readonly string[]> => {
    const { overlay } = await startMachine(path, 'far', key, near, anchors);
    return overlay.addresses();
  };
  const addresses = { direct: await start('direct'), spliced: await start('spliced'), stream: await start('stream') };
  parentPort?.postMessage({ peer: key.peerId, addresses } satisfies Far);
}

async function startMachine(
  path: Path,
  side: 'near' | 'far',
  key: NodeKey,
  other: string,
  anchors: readonly string[],
): Promise<Peer> {
  const machine = await startPeer({
    key,
    others: [other],
    listen: side === 'far' && path !== 'spliced' ? LISTEN : [],
    anchors: path === 'spliced' ? anchors : [],
    links: { ...LINKS, ...(side === 'far' && path === 'direct' ? { listen: LOOPBACK } : {}) },
  });
  machine.accept = serve;
  return machine;
}

async function linkOver(path: Path, key: NodeKey, far: Far, anchors: readonly string[]): Promise<Link> {
  const { links, overlay } = await startMachine(path, 'near', key, far.peer, anchors);
  const signal = AbortSignal.timeout(20_000);
  if (path !== 'spliced') await overlay.dial(far.addresses[path], signal);
  const link = await links.connect(far.peer, signal);
  await eventually(`the link is ${path}`, async () => link.path === (path === 'spliced' ? path : 'direct'));
  return link;
}

/** Bytes that four streams bring, in MB. */
async function pour(link: Link, streams: number): Promise<number> {
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
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  for (const stream of open) stream.reset('BENCH_OVER');
  return bytes / 1e6;
}

/** Milliseconds of each request. */
async function fetchAll(link: Link, inFlight: number): Promise<number[]> {
  const took: number[] = [];
  const until = performance.now() + SECONDS * 1000;
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const stream = link.open({ deployment, service: 'web', kind: 'http' }, head);
      stream.listen({ ...nothing, onClose: (code) => (code === undefined ? resolve() : reject(new Error(code))) });
      stream.end();
    });
  await Promise.all(
    Array.from({ length: inFlight }, async () => {
      for (let at = performance.now(); at < until; at = performance.now()) {
        await one();
        took.push(performance.now() - at);
      }
    }),
  );
  return took;
}

async function measure(link: Link, workload: Workload, look: () => Promise<Worked>): Promise<Figures> {
  const streams = WORKLOADS[workload];
  const before = await look();
  const begun = performance.now();
  const took = workload === 'bulk/c4' ? [] : await fetchAll(link, streams);
  const count = workload === 'bulk/c4' ? await pour(link, streams) : took.length;
  const seconds = (performance.now() - begun) / 1000;
  const after = await look();
  return {
    rate: count / seconds,
    nearUs: (after.near - before.near) / count,
    farUs: (after.far - before.far) / count,
    anchorUs: (after.anchor - before.anchor) / count,
    p50Ms: took.length === 0 ? Number.NaN : quantile(took, 0.5),
  };
}

async function compare(links: Readonly<Record<Path, Link>>, look: () => Promise<Worked>): Promise<void> {
  for (const workload of Object.keys(WORKLOADS) as Workload[]) {
    const rows: Record<Path, Figures[]> = { direct: [], spliced: [], stream: [] };
    for (let round = 0; round <= ROUNDS; round++) {
      for (const path of PATHS) {
        const figures = await measure(links[path], workload, look);
        // The first round is for the compiler.
        if (round > 0) rows[path].push(figures);
      }
    }
    for (const path of PATHS) {
      const of = (pick: (each: Figures, round: number) => number, digits = 1): string =>
        median(rows[path].map(pick)).toFixed(digits);
      console.log(
        `${workload.padEnd(8)} ${path.padEnd(8)} ${of(({ rate }) => rate, 0).padStart(6)} ${workload === 'bulk/c4' ? 'MB' : 'requests'}/s` +
          `  ${of(({ rate }, round) => rate / (rows.direct[round]?.rate ?? Number.NaN), 2)} of direct` +
          `  µs CPU ${of(({ nearUs }) => nearUs)} + ${of(({ farUs }) => farUs)}, anchor ${of(({ anchorUs }) => anchorUs)}` +
          (workload === 'bulk/c4' ? '' : `  p50 ${of(({ p50Ms }) => p50Ms, 3)} ms`),
      );
    }
  }
}

function microseconds({ user, system }: NodeJS.CpuUsage): number {
  return user + system;
}

interface Roles {
  readonly role: 'anchor' | 'far';
  readonly near: string;
  readonly anchors: readonly string[];
}

async function startThread<T>(
  data: Roles,
): Promise<[first: T, worked: () => Promise<number>, stop: () => Promise<number>]> {
  const worker = new Worker(new URL(import.meta.url), { workerData: data });
  const next = async (): Promise<unknown> => ((await once(worker, 'message')) as [unknown])[0];
  const first = (await next()) as T;
  const worked = (): Promise<number> => {
    const answer = next() as Promise<number>;
    worker.postMessage('look');
    return answer;
  };
  return [first, worked, () => worker.terminate()];
}

if (isMainThread) {
  const key = createNodeKey();
  const near = key.peerId;
  const [anchors, ofAnchor, stopAnchor] = await startThread<readonly string[]>({ role: 'anchor', near, anchors: [] });
  const [far, ofFar, stopFar] = await startThread<Far>({ role: 'far', near, anchors });
  const links = {
    direct: await linkOver('direct', key, far, anchors),
    spliced: await linkOver('spliced', key, far, anchors),
    stream: await linkOver('stream', key, far, anchors),
  };
  await compare(links, async () => ({
    near: microseconds(process.threadCpuUsage()),
    far: await ofFar(),
    anchor: await ofAnchor(),
  }));
  await Promise.all([stopFar(), stopAnchor()]);
  process.exit();
} else {
  const { role, near, anchors } = workerData as Roles;
  if (role === 'anchor') await runAnchor();
  else await runFar(near, anchors);
  parentPort?.on('message', () => parentPort?.postMessage(microseconds(process.threadCpuUsage())));
}
