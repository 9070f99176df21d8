/** TCP ports are held like names: first valid claim, same lease, same quota. Their key is one that no host can be. */
const PREFIX = 'tcp:';

/** Ports from `from` to `to`, both included. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

/** What a port is held under. */
export function portKey(port: number): string {
  return `${PREFIX}${port}`;
}

/** The port that a key stands for; undefined for a host. */
export function portOfKey(key: string): number | undefined {
  return key.startsWith(PREFIX) ? Number(key.slice(PREFIX.length)) : undefined;
}

export function isInRanges(port: number, ranges: readonly PortRange[]): boolean {
  return ranges.some(({ from, to }) => from <= port && port <= to);
}
