/** When a certificate is renewed, and when what failed is tried again. Pure: time and chance are arguments. */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** A certificate that lives shorter is renewed at its half: a third would leave no time for an outage. */
const SHORT_MS = 10 * DAY_MS;
/** Part of its life over which renewals are spread. */
const SPREAD = 1 / 20;

export interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/**
 * When to renew where the authority has no say: after two thirds of the life (short ones: half), up to a twentieth of
 * it earlier, so that what was obtained together is not renewed together.
 * @param chance 0 to 1
 */
export function renewAfterLife({ notBeforeMs, notAfterMs }: Validity, chance: number): number {
  const lifeMs = notAfterMs - notBeforeMs;
  const part = lifeMs < SHORT_MS ? 1 / 2 : 2 / 3;
  return Math.round(notBeforeMs + lifeMs * (part - SPREAD * chance));
}

/** The window in which an authority wants a certificate renewed, RFC 9773. */
export interface RenewalWindow {
  readonly startMs: number;
  readonly endMs: number;
}

/**
 * A moment in the window: the one chosen before while it lies in it, so that asking again does not move it; never
 * later than an hour before the end of the certificate, and never within an hour after it was obtained: an authority that
 * always wants the newest one back must not be given what it asks for.
 * @param chosenMs what was chosen before
 * @param chance 0 to 1
 */
export function renewInWindow(
  { startMs, endMs }: RenewalWindow,
  { notAfterMs, obtainedMs }: Pick<Validity, 'notAfterMs'> & { readonly obtainedMs: number },
  chosenMs: number,
  chance: number,
): number {
  const keeps = chosenMs >= startMs && chosenMs <= endMs;
  const moment = keeps ? chosenMs : Math.round(startMs + (endMs - startMs) * chance);
  return Math.max(Math.min(moment, notAfterMs - HOUR_MS), obtainedMs + HOUR_MS);
}

/** RFC 9773 §4.3.2 asks every six hours where it does not say otherwise, and for a bound on what it says. */
export function askAgainAfterMs(retryAfterMs: number | undefined): number {
  return Math.min(DAY_MS, Math.max(MINUTE_MS, retryAfterMs ?? 6 * HOUR_MS));
}

/** How a kind of failure is tried again: doubled from the first delay up to the last. */
const DELAYS: Readonly<Record<string, readonly [firstMs: number, lastMs: number]>> = {
  // An outage ends; asking costs nothing.
  ACME_UNREACHABLE: [MINUTE_MS, HOUR_MS],
  ACME_LIMITED: [HOUR_MS, DAY_MS],
};
/** Let's Encrypt counts five failed proofs of a name an hour. */
const OTHER_DELAYS = [5 * MINUTE_MS, DAY_MS] as const;

/**
 * Milliseconds until the next try, ± a quarter.
 * @param count of failures in a row, this one included
 * @param retryAfterMs what the authority asked for: never sooner
 * @param chance 0 to 1
 */
export function retryAfter(code: string, count: number, retryAfterMs: number | undefined, chance: number): number {
  const [firstMs, lastMs] = DELAYS[code] ?? OTHER_DELAYS;
  const delayMs = Math.min(lastMs, firstMs * 2 ** Math.min(20, count - 1));
  return Math.round(Math.max((retryAfterMs ?? 0) * (1 + chance / 20), delayMs * (0.75 + chance / 2)));
}
