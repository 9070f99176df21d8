/** What the authority's certificate and those it issues have in common. */
import { randomBytes } from 'node:crypto';

/** Of keys and signatures. */
export const SIGNATURE = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;
export const DAY_MS: number = 24 * 3_600_000;
/** Clocks of gateways may be behind. */
export const BACKDATE_MS = 3_600_000;

/** 16 random bytes with the top bits 01: positive and never shortened. */
export function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}
