/** A stream of bytes to the far machine by iperf3, and what it cost the path. */
import type { Daemon } from '../e2e/machine.ts';
import { eventually } from '../e2e/machine.ts';
import type { BenchContext } from './context.ts';
import { cpuSeconds } from './processes.ts';
import { runTool } from './programs.ts';
import type { MeasureOptions, Values } from './scenario.ts';
import { STREAM_PORT, createE2eSite } from './subjects/e2e-site.ts';
import type { Target } from './subject.ts';

export interface StreamLoad {
  readonly target: Target;
  /** TCP connections at once. */
  readonly connections: number;
  /** Processes whose CPU time counts. */
  readonly pids: readonly number[];
}

/** The other end, on every address of the far machine. */
export interface StreamServer extends AsyncDisposable {
  readonly daemon: Daemon;
}

/** One iperf3 on the far machine for all subjects; it serves one test after the other. */
export async function createStreamServer(context: BenchContext): Promise<StreamServer> {
  const { namespaces } = await context.shared(createE2eSite);
  const daemon = context.programs.start('iperf3', ['--server', '--port', String(STREAM_PORT), '--forceflush'], {
    namespace: namespaces.far,
  });
  await eventually('iperf3 listens', () => Promise.resolve(daemon.output.includes('Server listening')));
  return { daemon, [Symbol.asyncDispose]: () => context.programs.stop([daemon]) };
}

interface Summary {
  readonly end: { readonly sum_received: { readonly bytes: number; readonly seconds: number } };
}

/** `mbitPerSecond` as the far end received it, `cpuMsPerGiB`. */
export async function streamLoad({ target, connections, pids }: StreamLoad, options: MeasureOptions): Promise<Values> {
  const run = async (seconds: number): Promise<Summary> => {
    const to = ['--client', target.address, '--port', String(target.port), '--connect-timeout', '5000'];
    const how = ['--time', String(Math.max(1, Math.round(seconds))), '--parallel', String(connections), '--json'];
    const { namespace } = target;
    return JSON.parse(await runTool('iperf3', [...to, ...how], { namespace })) as Summary;
  };
  await run(options.warmUpSeconds);
  const before = cpuSeconds(pids);
  const { bytes, seconds } = (await run(options.seconds)).end.sum_received;
  const cpu = cpuSeconds(pids) - before;
  if (!(bytes > 0)) throw new Error('nothing arrived');
  return { mbitPerSecond: (bytes * 8) / seconds / 1e6, cpuMsPerGiB: (cpu * 1_000) / (bytes / 2 ** 30) };
}
