/**
 * HTTP load by h2load over connections that stay, and what it cost the path. The window begins after a warm-up, when all
 * connections stand; requests, CPU time and memory are of that window only.
 */
import { once } from 'node:events';
import { spawn } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cpuSeconds, residentBytes } from './processes.ts';
import type { MeasureOptions, Values } from './scenario.ts';
import { quantileOfSorted } from './statistics.ts';
import type { Target } from './subject.ts';

export interface HttpLoad {
  readonly target: Target;
  readonly scheme: 'https' | 'http';
  /** @defaultValue http1 */
  readonly version?: 'http1' | 'h2';
  readonly path: string;
  /** Bytes of each body; less is a failure. */
  readonly bodyBytes: number;
  readonly connections: number;
  /** Requests in flight on each connection; only of h2. @defaultValue 1 */
  readonly streams?: number;
  /** Processes whose CPU time and memory count. */
  readonly pids: readonly number[];
}

/** Milliseconds beyond warm-up and window until h2load is ended. */
const OVERTIME_MS = 20_000;
let runs = 0;

interface Mark {
  readonly at: number;
  readonly cpu: number;
}

/** `rps`, `cpuUsPerRequest`, `p50Ms`, `p99Ms`, `rssMiB`. Fails when a request fails or none ends in the window. */
export async function httpLoad(load: HttpLoad, options: MeasureOptions): Promise<Values> {
  const log = join(tmpdir(), `moat-bench-${process.pid}-${++runs}.log`);
  try {
    const window = await runH2load(load, log, options);
    const { durations, failures } = parseLog(await readFile(log));
    if (failures > 0) throw new Error(`${failures} answers were not 200`);
    if (durations.length === 0) throw new Error('no request ended in the window');
    durations.sort();
    // h2load keeps the length of its window; this process may notice both ends of it late, so its CPU time is taken as a rate.
    const rps = durations.length / options.seconds;
    return {
      rps,
      cpuUsPerRequest: (window.cpu / window.seconds / rps) * 1e6,
      p50Ms: quantileOfSorted(durations, 0.5) / 1000,
      p99Ms: quantileOfSorted(durations, 0.99) / 1000,
      rssMiB: window.rssBytes / 2 ** 20,
    };
  } finally {
    await rm(log, { force: true });
  }
}

interface Window {
  readonly seconds: number;
  /** CPU seconds of the path. */
  readonly cpu: number;
  readonly rssBytes: number;
}

async function runH2load(load: HttpLoad, log: string, options: MeasureOptions): Promise<Window> {
  const { target, connections, pids } = load;
  const args = [
    ...(load.version === 'h2' ? [`-m${load.streams ?? 1}`] : ['--h1']),
    '-t1',
    `-c${connections}`,
    `-D${options.seconds}`,
    `--warm-up-time=${options.warmUpSeconds * 1000}ms`,
    `--log-file=${log}`,
    `--connect-to=${target.address}:${target.port}`,
    `${load.scheme}://${target.hostname}:${target.port}${load.path}`,
  ];
  const command = ['h2load', ...args];
  const [program = 'h2load', ...rest] =
    target.namespace === undefined ? command : ['ip', 'netns', 'exec', target.namespace, ...command];
  const child = spawn(program, rest, {
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: options.signal,
    timeout: (options.seconds + options.warmUpSeconds) * 1000 + OVERTIME_MS,
  });
  let output = '';
  let begin: Mark | undefined;
  let end: (Mark & { readonly rssBytes: number }) | undefined;
  const onText = (text: string): void => {
    output = (output + text).slice(-1 << 16);
    begin ??= output.includes('Main benchmark duration is started') ? mark(pids) : undefined;
    end ??= output.includes('Main benchmark duration is over')
      ? { ...mark(pids), rssBytes: residentBytes(pids) }
      : undefined;
  };
  child.stdout.setEncoding('utf8').on('data', onText);
  child.stderr.setEncoding('utf8').on('data', onText);
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`h2load ended with ${code ?? 'a signal'}\n${output.slice(-2_000)}`);
  check(load, output);
  if (!begin || !end) throw new Error(`h2load measured nothing\n${output.slice(-2_000)}`);
  return { seconds: (end.at - begin.at) / 1000, cpu: end.cpu - begin.cpu, rssBytes: end.rssBytes };
}

function mark(pids: readonly number[]): Mark {
  return { at: performance.now(), cpu: cpuSeconds(pids) };
}

/** Nothing failed, and what came was as long as it should be. */
function check(load: HttpLoad, output: string): void {
  const counts = /requests: \d+ total.*?(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout/.exec(output);
  const bytes = /traffic:.*?\((\d+)\) total.*?\((\d+)\) data/.exec(output);
  const succeeded = Number(counts?.[1] ?? 0);
  const lost = Number(counts?.[2] ?? 0) + Number(counts?.[3] ?? 0) + Number(counts?.[4] ?? 0);
  if (!counts || lost > 0) throw new Error(`requests failed\n${output.slice(-2_000)}`);
  if (Number(bytes?.[2] ?? 0) < succeeded * load.bodyBytes) throw new Error(`bodies were cut\n${output.slice(-2_000)}`);
}

/** Lines of `start in µs, status, duration in µs`; durations in µs, in no order. One cut off by the end has no status. */
function parseLog(log: Buffer): { durations: Float64Array; failures: number } {
  const durations: number[] = [];
  let failures = 0;
  for (const line of log.toString('latin1').split('\n')) {
    if (line === '') continue;
    const [, status, micros] = line.split('\t');
    if (status === '200') durations.push(Number(micros));
    else if (Number(status) > 0) failures += 1;
  }
  return { durations: Float64Array.from(durations), failures };
}
