/** Finds what a test left open: sockets, servers, pipes, timers, child processes. */

/** Compares what is open now with what was open when it was made. */
export interface LeakCheck extends AsyncDisposable {
  /** Waits up to `turns` loop turns for things to close. @throws Error that names what is still open. */
  done(turns?: number): Promise<void>;
}

/** Kinds that come and go on their own and are no leak. */
const IGNORED = new Set(['TTYWrap', 'FSReqCallback', 'FSReqPromise', 'CloseReq', 'Immediate', 'FILEHANDLE']);

/**
 * Takes stock; `await using leaks = checkLeaks()` as a test's first line throws at its end when more is open than before.
 * Timers that do not keep the process alive are not seen.
 */
export function checkLeaks(): LeakCheck {
  const before = countResources();
  const done = async (turns = 200): Promise<void> => {
    for (let turn = 0; turn < turns; turn++) {
      if (openedSince(before).length === 0) return;
      await new Promise<void>((resolve) => setImmediate(resolve));
      // Every 16th turn lets time pass too: a peer's close needs the loop to poll.
      if (turn % 16 === 15) await new Promise<void>((resolve) => setTimeout(resolve, 5));
    }
    const left = openedSince(before);
    if (left.length > 0) throw new Error(`left open: ${left.join(', ')}`);
  };
  return { done, [Symbol.asyncDispose]: () => done() };
}

function countResources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) {
    if (!IGNORED.has(kind)) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  }
  return counts;
}

function openedSince(before: ReadonlyMap<string, number>): string[] {
  const left: string[] = [];
  for (const [kind, count] of countResources()) {
    const more = count - (before.get(kind) ?? 0);
    if (more > 0) left.push(`${more} ${kind}`);
  }
  return left;
}
