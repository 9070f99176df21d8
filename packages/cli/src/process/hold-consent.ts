/** The operator's word for as long as this process lives: also a kill takes it back. */
import type { Exposed } from '@moat/admin-api';
import { isMoatError, sleep, systemClock } from '@moat/core';
import type { Context } from '../context.ts';

const AGAIN_MS = 500;

/**
 * Exposes a target until `signal` is aborted; resolves once that is in force. An agent that is
 * started anew meanwhile is told again.
 * @throws `TARGET_OWN`, `TARGET_INVALID`, `AGENT_NOT_RUNNING`
 */
export async function holdConsent({ agent }: Context, exposure: Exposed, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let isHeld = false;
  const follow = async (): Promise<void> => {
    for (;;) {
      try {
        for await (const _ of agent.holdExposed(exposure, signal)) {
          isHeld = true;
          resolve();
        }
        if (signal.aborted) return;
      } catch (error) {
        if (signal.aborted) return;
        // Before it was in force the command fails with it; later the agent is gone, and comes back.
        if (!isHeld) return reject(error);
        if (!isMoatError(error)) throw error;
      }
      await sleep(systemClock, AGAIN_MS, signal);
    }
  };
  follow().catch(reject);
  return promise;
}
