/** Telling followers of alarms: each once when it begins, once when it is over. */
import type { Notice } from '@moat/admin-api';
import type { EventFeed } from '../event-feed.ts';
import type { Deployment } from './deployment.ts';

/** @param before the alarms as they were before what happened */
export function tellAlarms(feed: EventFeed, deployment: Deployment, before: readonly Notice[]): void {
  const now = deployment.alarms;
  for (const alarm of before) {
    if (!has(now, alarm)) feed.emit({ kind: 'alarm', deployment: deployment.id, alarm, ended: true });
  }
  for (const alarm of now) {
    if (!has(before, alarm)) feed.emit({ kind: 'alarm', deployment: deployment.id, alarm });
  }
}

function has(alarms: readonly Notice[], { code, message }: Notice): boolean {
  return alarms.some((each) => each.code === code && each.message === message);
}
