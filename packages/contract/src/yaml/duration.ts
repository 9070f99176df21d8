/** Spans and instants as people write them in a file. */
import { formatTime, isTime, parseTime } from '../time.ts';

/** `1w2d3h4m5s`, each part optional, in this order; the pattern is also in the JSON Schema. */
export const DURATION_PATTERN: RegExp = /^(?=\d)(?:\d{1,4}w)?(?:\d{1,5}d)?(?:\d{1,6}h)?(?:\d{1,7}m)?(?:\d{1,9}s)?$/;

const UNIT_MS = { w: 604_800_000, d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 };

/** A century: more is a typing error. */
const MAX_DURATION_MS = 100 * 365 * UNIT_MS.d;

/** When something ends: so long after it is first applied, or at an instant (RFC 3339, UTC). */
export type Expiry = { readonly afterMs: number } | { readonly at: string };

/** Milliseconds of `30d` or `1h30m`; undefined for anything else, for zero and for more than a century. */
export function parseDuration(text: string): number | undefined {
  if (!DURATION_PATTERN.test(text)) return undefined;
  let totalMs = 0;
  for (const [, digits, unit] of text.matchAll(/(\d+)([wdhms])/g)) {
    totalMs += Number(digits) * UNIT_MS[unit as keyof typeof UNIT_MS];
  }
  return totalMs > 0 && totalMs <= MAX_DURATION_MS ? totalMs : undefined;
}

/** The shortest text {@link parseDuration} reads as `durationMs`; parts of a second are dropped. */
export function formatDuration(durationMs: number): string {
  let rest = durationMs;
  let text = '';
  for (const unit of ['d', 'h', 'm', 's'] as const) {
    const count = Math.floor(rest / UNIT_MS[unit]);
    rest -= count * UNIT_MS[unit];
    if (count > 0) text += `${count}${unit}`;
  }
  return text === '' ? '0s' : text;
}

/** `30d`, `2026-12-01T10:00:00Z`, or `2026-12-01` for its first instant in UTC; undefined for anything else. */
export function parseExpiry(text: string): Expiry | undefined {
  const afterMs = parseDuration(text);
  if (afterMs !== undefined) return { afterMs };
  const time = /^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00Z` : text;
  return isTime(time) ? { at: formatTime(parseTime(time)) } : undefined;
}
