/** A child of `moat dev` ends when dev is gone, however dev ended. */

/** Set by a parent to its own pid. */
export const PARENT_VARIABLE = 'MOAT_PARENT_PID';

const LOOK_MS = 500;

/** Calls `onGone` once the process named by {@link PARENT_VARIABLE} is not our parent any more. */
export function watchParent(env: Record<string, string | undefined>, onGone: () => void): void {
  const parent = Number(env[PARENT_VARIABLE]);
  // What we start has another parent.
  delete env[PARENT_VARIABLE];
  if (!Number.isSafeInteger(parent) || parent <= 0) return;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    onGone();
  }, LOOK_MS);
  timer.unref();
}
