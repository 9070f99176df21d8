/**
 * Names of header fields as they are read from bytes: those that services commonly send are found in a fixed table, in
 * lower case and without a new string; and which of them the parser has to look at.
 */
import { CONNECTION_SPECIFIC_FIELDS } from '@moat/core';
import { LOWER_TCHAR } from './fields.ts';

/** What a field means to the message it stands in. */
export type FieldRole =
  'plain' | 'hop' | 'connection' | 'content-length' | 'keep-alive' | 'transfer-encoding' | 'upgrade';

export interface FieldName {
  readonly name: string;
  readonly role: FieldRole;
}

const ROLES: ReadonlySet<string> = new Set<FieldRole>([
  'connection',
  'content-length',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
]);

const COMMON = `
  accept-ranges access-control-allow-credentials access-control-allow-headers access-control-allow-methods
  access-control-allow-origin access-control-expose-headers access-control-max-age age allow alt-svc cache-control
  content-disposition content-encoding content-language content-length content-location content-range content-security-policy
  content-type cross-origin-embedder-policy cross-origin-opener-policy cross-origin-resource-policy date etag expires
  last-modified link location permissions-policy pragma referrer-policy retry-after sec-websocket-accept
  sec-websocket-extensions sec-websocket-protocol server server-timing set-cookie strict-transport-security
  timing-allow-origin trailer vary via www-authenticate x-cache x-content-type-options x-frame-options x-powered-by
  x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset x-request-id x-xss-protection
`;

/** By length and first letter; few names share both. */
const SLOTS: readonly (readonly FieldName[])[] = (() => {
  const slots: FieldName[][] = Array.from({ length: 64 * 32 }, () => []);
  const add = (name: string, otherwise: FieldRole): void => {
    const role = ROLES.has(name) ? (name as FieldRole) : otherwise;
    slots[slotOf(name.length, name.charCodeAt(0))]?.push({ name, role });
  };
  for (const name of CONNECTION_SPECIFIC_FIELDS) add(name, 'hop');
  for (const name of COMMON.trim().split(/\s+/)) add(name, 'plain');
  return slots;
})();

function slotOf(length: number, first: number): number {
  return (length << 5) | (first & 31);
}

/** The field named by token bytes from `from` to `to` in any case, if it is one of the common ones. */
export function knownName(bytes: Buffer, from: number, to: number): FieldName | undefined {
  const slot = SLOTS[slotOf(to - from, bytes[from] as number)];
  if (slot === undefined) return undefined;
  for (const known of slot) {
    let at = from;
    while (at < to && LOWER_TCHAR[bytes[at] as number] === known.name.charCodeAt(at - from)) at += 1;
    if (at === to) return known;
  }
  return undefined;
}
