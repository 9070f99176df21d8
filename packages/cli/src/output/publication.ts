/** How a publication's state reads. */
import type { PublicationStatus } from '@moat/admin-api';
import type { Style } from './style.ts';

export function publicationMark({ state }: PublicationStatus, style: Style): string {
  if (state === 'live') return style.ok;
  if (state === 'refused') return style.fail;
  return state === 'waiting' ? style.dim('·') : style.attention;
}

export function publicationState({ state }: PublicationStatus): string {
  return state === 'waiting' ? 'by other members' : state;
}
