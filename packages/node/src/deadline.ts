/** Waits that end: a signal whose reason is a coded error. */
import type { MoatError } from '@moat/core';

/** Aborted with `error` after `timeoutMs`, or with the reason of whichever of `signals` comes first. */
export function deadline(timeoutMs: number, error: MoatError, ...signals: readonly AbortSignal[]): AbortSignal {
  const controller = new AbortController();
  setTimeout(() => controller.abort(error), timeoutMs).unref();
  return AbortSignal.any([controller.signal, ...signals]);
}
