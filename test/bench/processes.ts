/** CPU time and memory of processes, read from /proc. */
import { readFileSync, readdirSync } from 'node:fs';

/** Clock ticks a second; USER_HZ is 100 on every Linux. */
const TICKS_PER_SECOND = 100;
/** Parent of all threads of the kernel. */
const KTHREADD = 2;

interface ProcessTimes {
  readonly parent: number;
  /** CPU seconds of its own so far. */
  readonly own: number;
  /** CPU seconds of its children that ended and were waited for. */
  readonly ended: number;
}

/** Every process of this moment. */
export function readProcesses(): Map<number, ProcessTimes> {
  const all = new Map<number, ProcessTimes>();
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const fields = statOf(Number(entry));
    if (!fields) continue;
    const seconds = (from: number): number => (Number(fields[from]) + Number(fields[from + 1])) / TICKS_PER_SECOND;
    all.set(Number(entry), { parent: Number(fields[1]), own: seconds(11), ended: seconds(13) });
  }
  return all;
}

/** These processes and all below them. */
export function withDescendants(pids: readonly number[], all = readProcesses()): Set<number> {
  const family = new Set(pids);
  for (let grew = true; grew;) {
    grew = false;
    for (const [pid, { parent }] of all) {
      if (!family.has(parent) || family.has(pid)) continue;
      family.add(pid);
      grew = true;
    }
  }
  return family;
}

/** CPU seconds of these processes and their descendants so far, of those that ended too. */
export function cpuSeconds(pids: readonly number[]): number {
  const all = readProcesses();
  let sum = 0;
  for (const pid of withDescendants(pids, all)) {
    const times = all.get(pid);
    sum += times ? times.own + times.ended : 0;
  }
  return sum;
}

/** CPU seconds so far of programs that are neither this one, nor started by it, nor the kernel. */
export function otherCpuSeconds(): number {
  const all = readProcesses();
  const ours = withDescendants([process.pid], all);
  let sum = 0;
  for (const [pid, { parent, own, ended }] of all) {
    if (!ours.has(pid) && pid !== KTHREADD && parent !== KTHREADD) sum += own + ended;
  }
  return sum;
}

/** Resident memory of these processes and their descendants, in bytes; a page that two share counts twice. */
export function residentBytes(pids: readonly number[]): number {
  let kibibytes = 0;
  for (const pid of withDescendants(pids)) {
    try {
      const status = readFileSync(`/proc/${pid}/status`, 'utf8');
      kibibytes += Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0);
    } catch {
      // It ended in between.
    }
  }
  return kibibytes * 1024;
}

/** Fields of /proc/<pid>/stat from the state on; a name may hold blanks and parentheses. */
function statOf(pid: number): string[] | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
  } catch {
    return undefined;
  }
}
