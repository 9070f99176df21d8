/** Times as contracts write them: RFC 3339 in UTC, inside as milliseconds since 1970. */
import { MoatError } from '@moat/core';

/** How far two honest clocks may be apart, in milliseconds (architecture.md §3). */
export const CLOCK_TOLERANCE_MS = 300_000;

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,3})?Z$/;

/** True for an existing instant written as `2026-11-20T10:00:00Z`, with at most milliseconds. */
export function isTime(text: string): boolean {
  if (!TIME.test(text)) return false;
  const timeMs = Date.parse(text);
  // Date rolls 30 February over; the day it gives back then differs.
  return !Number.isNaN(timeMs) && new Date(timeMs).toISOString().startsWith(text.slice(0, 19));
}

/** Milliseconds since 1970. @throws `CONTRACT_INVALID` unless {@link isTime}. */
export function parseTime(text: string): number {
  if (!isTime(text)) throw new MoatError('CONTRACT_INVALID', 'a time is written as 2026-11-20T10:00:00Z');
  return Date.parse(text);
}

/** The instant `timeMs` (milliseconds since 1970), cut to whole seconds. */
export function formatTime(timeMs: number): string {
  return `${new Date(timeMs).toISOString().slice(0, 19)}Z`;
}
