/** How WireGuard packets go, for people. */
import type { PlanePath } from '@moat/admin-api';

/** `direct`, `in a link (spliced)`, `by relay-1`, … */
export function planePathText({ path, over, forwarder }: Pick<PlanePath, 'path' | 'over' | 'forwarder'>): string {
  if (path === 'riding') return `in a link (${over ?? 'opening'})`;
  if (path === 'forwarded') return `by ${forwarder ?? 'a member'}`;
  return path;
}

/** The same with the reason, where there is one worth saying. */
export function planePathLine(plane: PlanePath): string {
  const text = planePathText(plane);
  return plane.reason === null ? text : `${text}: ${plane.reason.text}`;
}
