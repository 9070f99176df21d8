/** Why nobody holds a place. */
import type { Place } from '@moat/contract';
import { timeText } from '../api/report.ts';

export interface Vacancy {
  readonly code: 'PEER_VACANT' | 'PLACE_FROZEN' | 'MEMBER_EXPIRED';
  readonly reason: string;
  readonly next: readonly string[];
}

/** Undefined for a place that a machine or a device holds. */
export function vacancyOf(place: Place | undefined, now: number): Vacancy | undefined {
  if (place === undefined || place.peer !== null) return undefined;
  const { name, state, untilMs } = place;
  if (state === 'expired' || now >= untilMs) {
    return { code: 'MEMBER_EXPIRED', reason: `the membership of ${name} ended at ${timeText(untilMs)}`, next: [] };
  }
  if (state === 'device') {
    if (place.wireguard !== undefined) return undefined;
    const reason = `the device ${name} has no key yet`;
    return { code: 'PEER_VACANT', reason, next: [`moat wireguard export ${name}`] };
  }
  if (state === 'frozen') {
    return {
      code: 'PLACE_FROZEN',
      reason: `two machines claim the place of ${name}, so neither has it until the next version decides`,
      next: [`moat invite ${name} --replace`],
    };
  }
  return state === 'invited'
    ? {
        code: 'PEER_VACANT',
        reason: `the machine invited as ${name} has not joined yet`,
        next: [`on that machine: moat join TOKEN-FILE`],
      }
    : { code: 'PEER_VACANT', reason: `no machine holds the place of ${name}`, next: [`moat invite ${name}`] };
}
