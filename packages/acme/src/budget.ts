/**
 * Our own count of what an authority counts, so that its limits are never met: a refused order helps nobody, and one
 * name that fails must not use up what the others need. Pure.
 */
import type { SpentRecord } from './store.ts';

export interface AuthorityLimits {
  /** New orders in three hours. */
  readonly orders: number;
  /** Certificates for names under one registered domain in seven days; undefined = not counted. */
  readonly certificatesPerDomain: number | undefined;
  /** Certificates for exactly the same names in seven days; undefined = not counted. */
  readonly duplicates: number | undefined;
}

const HOUR_MS = 3_600_000;
const ORDERS_MS = 3 * HOUR_MS;
/** What is older is counted no more. */
export const SPENT_MS: number = 7 * 24 * HOUR_MS;

/** Somewhat below what is published: others may order for the same domain. Let's Encrypt: 300, 50 and 5. */
const LETS_ENCRYPT: AuthorityLimits = { orders: 240, certificatesPerDomain: 45, duplicates: 4 };
const OTHERS: AuthorityLimits = { orders: 600, certificatesPerDomain: undefined, duplicates: undefined };

/** The limits of the authority with this directory. */
export function limitsOf(directory: string): AuthorityLimits {
  return /^https:\/\/[^/]*\.letsencrypt\.org\//.test(directory) ? LETS_ENCRYPT : OTHERS;
}

/** When an order may be placed, and what it waits for. */
export interface Allowance {
  /** Milliseconds since the epoch; now or later. */
  readonly atMs: number;
  /** Whom the wait is for: every order, every first one for this registered domain, or this one. */
  readonly scope: 'orders' | { readonly domain: string } | 'names';
}

/**
 * When an order for these names may be placed: now, or when enough of what was spent is old enough.
 * @param order `isRenewal`: of the same names, which counts for no domain
 * @param spent at this authority
 */
export function allowanceOf(
  order: { readonly id: string; readonly names: readonly string[]; readonly isRenewal: boolean },
  spent: readonly SpentRecord[],
  limits: AuthorityLimits,
  nowMs: number,
): Allowance {
  const orders = spent.filter(({ kind }) => kind === 'order');
  const certificates = spent.filter(({ kind }) => kind === 'certificate');
  const same = certificates.filter(({ id }) => id === order.id);
  const found: Allowance[] = [
    { scope: 'orders', atMs: freeAt(orders, limits.orders, ORDERS_MS, nowMs) },
    { scope: 'names', atMs: freeAt(same, limits.duplicates, SPENT_MS, nowMs) },
  ];
  if (!order.isRenewal && limits.certificatesPerDomain !== undefined) {
    for (const domain of new Set(order.names.map(registeredDomain))) {
      const under = certificates.filter(({ id }) => id.split(',').some((name) => registeredDomain(name) === domain));
      found.push({ scope: { domain }, atMs: freeAt(under, limits.certificatesPerDomain, SPENT_MS, nowMs) });
    }
  }
  return found.reduce((latest, each) => (each.atMs > latest.atMs ? each : latest));
}

function freeAt(spent: readonly SpentRecord[], limit: number | undefined, periodMs: number, nowMs: number): number {
  if (limit === undefined) return nowMs;
  const recent = spent.map(({ atMs }) => atMs).filter((atMs) => atMs > nowMs - periodMs);
  if (recent.length < limit) return nowMs;
  // The one whose end makes room.
  const freeing = recent.toSorted((a, b) => b - a)[limit - 1] ?? nowMs;
  return freeing + periodMs;
}

/** Second-level labels under which countries give names away. */
const SHARED = new Set([
  'ac',
  'co',
  'com',
  'edu',
  'gov',
  'net',
  'or',
  'org',
  'ne',
  'go',
  'id',
  'me',
  'ltd',
  'plc',
  'sch',
]);

/**
 * The registered domain of a name, near enough for counting: where the public suffix list knows more suffixes, several
 * owners are counted as one, which is too careful.
 */
export function registeredDomain(name: string): string {
  const labels = name.replace(/^\*\./, '').split('.');
  const [second = '', top = ''] = labels.slice(-2);
  return labels.slice(top.length === 2 && SHARED.has(second) ? -3 : -2).join('.');
}
