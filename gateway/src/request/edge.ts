/**
 * edge, second half: what the gateway takes away from and adds to a request before it goes inward. The rules of a
 * publication are signed with it; who may come in was asked before (`basic-auth.ts`).
 */
import type { FieldList, RequestHead } from '@moat/core';
import type { Visitor } from './basic-auth.ts';
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
export function inwardHead(
  request: ClientRequest,
  head: ParsedHead,
  options: EdgeOptions,
  visitor?: Visitor,
): RequestHead {
  // The password was for the gateway; the service learns the name that it belongs to.
  const dropped = (name: string): boolean =>
    OURS.has(name) || name.startsWith('x-forwarded-') || (visitor !== undefined && name === 'authorization');
  const fields = endToEndFields(head.fields).filter(([name]) => !dropped(name));
  return {
    method: head.method,
    authority: head.authority,
    target: head.target,
    fields: fields.concat(forwardingFields(request, head, options), userFields(visitor)),
    bodyless: head.bodyless,
    ...(head.upgrade === undefined ? {} : { upgrade: head.upgrade }),
  };
}

function userFields(visitor: Visitor | undefined): FieldList {
  return visitor === undefined ? [] : [['x-forwarded-user', encodeURIComponent(visitor.user)]];
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
