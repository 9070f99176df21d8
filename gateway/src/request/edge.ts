/**
 * edge: what the gateway takes away from and adds to a request before it goes inward. The rules of a
 * publication (authentication, rates, headers) will run here; they are signed with it.
 */
import type { FieldList, RequestHead } from '@moat/core';
import type { ClientRequest } from './client-request.ts';
import { endToEndFields } from './fields.ts';
import type { ParsedHead } from './parse.ts';

export interface EdgeOptions {
  /** The gateway's name in Via. */
  readonly domain: string;
}

/** Fields only a gateway may say; a client's are dropped. */
const OURS: ReadonlySet<string> = new Set([
  'forwarded',
  'x-real-ip',
  'x-request-id',
  'x-client-ip',
  'true-client-ip',
  'client-ip',
]);

/** The head as it goes over the link. */
export function inwardHead(request: ClientRequest, head: ParsedHead, options: EdgeOptions): RequestHead {
  const fields = endToEndFields(head.fields).filter(([name]) => !OURS.has(name) && !name.startsWith('x-forwarded-'));
  return {
    method: head.method,
    authority: head.authority,
    target: head.target,
    fields: fields.concat(forwardingFields(request, head, options)),
    bodyless: head.bodyless,
    ...(head.upgrade === undefined ? {} : { upgrade: head.upgrade }),
  };
}

function forwardingFields(request: ClientRequest, head: ParsedHead, options: EdgeOptions): FieldList {
  const { address } = request.client;
  const node = address.includes(':') ? `"[${address}]"` : address;
  return [
    ['x-forwarded-for', address],
    ['x-forwarded-host', head.authority],
    ['x-forwarded-proto', 'https'],
    ['x-real-ip', address],
    ['forwarded', `for=${node};host="${head.authority}";proto=https`],
    ['x-request-id', request.id],
    ['via', `${head.version} ${options.domain}`],
  ];
}
