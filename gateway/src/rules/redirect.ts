/** Where a redirected name sends its clients. */
import type { PublishRules } from '@moat/contract';

type Redirect = NonNullable<PublishRules['redirect']>;

/** The Location for `target`, which is a path or `*`. A place that ends in `/` keeps the path and query asked for. */
export function locationOf({ to }: Redirect, target: string): string {
  if (!to.endsWith('/') || !target.startsWith('/')) return to;
  // `//evil.example` behind a host is still a path of that host.
  return to.slice(0, -1) + target;
}
