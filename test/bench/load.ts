/** Load and what it cost: h2load over HTTP/1.1, CPU time and memory of the processes on the path. */
import { execFile } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** Clock ticks a second; USER_HZ is 100 on every Linux. */
const TICKS_PER_SECOND = 100;

export interface Target {
  readonly subject: string;
  /** Address asked for; its host is the SNI and Host. */
  readonly url: string;
  /** Where to connect, `127.0.0.1:port`. */
  readonly connectTo: string;
  /** Processes whose CPU time counts as the path's. */
  readonly pids: readonly number[];
}

export interface LoadResult {
  readonly requestsPerSecond: number;
  readonly cpuMicrosPerRequest: number;
}

/** Loads `target` for `seconds` with `connections` keep-alive connections. Fails when any request fails. */
export async function load(target: Target, connections: number, seconds: number): Promise<LoadResult> {
  const before = cpuSeconds(target.pids);
  const { stdout } = await run(
    'h2load',
    ['--h1', '-t1', `-c${connections}`, `-D${seconds}`, `--connect-to=${target.connectTo}`, target.url],
    { maxBuffer: 1 << 24 },
  );
  const cpu = cpuSeconds(target.pids) - before;
  const counts = /requests: (\d+) total.*?(\d+) succeeded, (\d+) failed, (\d+) errored/.exec(stdout);
  const status = /status codes: (\d+) 2xx/.exec(stdout);
  const rate = /finished in [\d.]+s?m?s?, ([\d.]+) req\/s/.exec(stdout);
  const succeeded = Number(counts?.[2] ?? 0);
  if (!rate || succeeded === 0 || Number(status?.[1] ?? 0) < succeeded) {
    throw new Error(`${target.subject}: requests failed\n${stdout}`);
  }
  return { requestsPerSecond: Number(rate[1]), cpuMicrosPerRequest: (cpu / succeeded) * 1e6 };
}

/** CPU time of these processes and their children so far, in seconds. */
function cpuSeconds(pids: readonly number[]): number {
  let ticks = 0;
  for (const pid of withDescendants(pids)) {
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ');
      ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      // It ended in between; what it used is in no row any more.
    }
  }
  return ticks / TICKS_PER_SECOND;
}

function withDescendants(pids: readonly number[]): Set<number> {
  const all = new Set(pids);
  const parents = new Map<number, number>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const parent = Number(
        readFileSync(`/proc/${entry}/stat`, 'utf8')
          .replace(/^.*\) /, '')
          .split(' ')[1],
      );
      parents.set(Number(entry), parent);
    } catch {
      continue;
    }
  }
  for (let grew = true; grew;) {
    grew = false;
    for (const [pid, parent] of parents) {
      if (all.has(parent) && !all.has(pid)) {
        all.add(pid);
        grew = true;
      }
    }
  }
  return all;
}

/** Middle of the values; mean of the middle two of an even count. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which `share` of `values` lie, between neighbours linearly. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const low = sorted[Math.floor(position)] ?? Number.NaN;
  const high = sorted[Math.ceil(position)] ?? Number.NaN;
  return low + (high - low) * (position - Math.floor(position));
}
