/** Fields and cookies of a request that are the gateway's own. */
import type { ClientRequest } from '../request/client-request.ts';

/** Of every cookie that a gateway sets. */
const PREFIX = '__Host-moat-';

/** The first field of that name, in lower case. */
export function fieldOf({ head: { fields } }: Pick<ClientRequest, 'head'>, wanted: string): string | undefined {
  return fields.find(([name]) => name === wanted)?.[1];
}

/** True for what only a form of a page of this very host sends: other sites can make a browser send anything else. */
export function isOwnForm(request: Pick<ClientRequest, 'head'>): boolean {
  const { method, authority } = request.head;
  return method === 'POST' && fieldOf(request, 'origin') === `https://${authority}`;
}

/** All cookies as one text; HTTP/2 may send them one by one. */
export function cookiesOf({ head: { fields } }: Pick<ClientRequest, 'head'>): string | undefined {
  let all: string | undefined;
  for (const [name, value] of fields) if (name === 'cookie') all = all === undefined ? value : `${all}; ${value}`;
  return all;
}

/** The cookie field without the gateway's own, which no service is to see; undefined when nothing is left. */
export function withoutOwnCookies(cookie: string): string | undefined {
  if (!cookie.includes(PREFIX)) return cookie;
  const kept = cookie.split(';').filter((pair) => !pair.trim().startsWith(PREFIX));
  const rest = kept.join(';').trim();
  return rest === '' ? undefined : rest;
}
