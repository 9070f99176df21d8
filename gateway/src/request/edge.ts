/**
 * edge, second half: what the gateway takes away from and adds to a request before it goes inward. The rules of a
 * publication are signed with it; who may come in was asked before (`sign-in/door.ts`).
 */
import { SIGN_IN_PROOF_FIELD } from '@moat/contract';
import { RecentOf, type FieldList, type RequestHead } from '@moat/core';
import type { Visitor } from './basic-auth.ts';
import type { ClientRequest } from './client-request.ts';
import { withoutOwnCookies } from '../sign-in/own-fields.ts';
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
  SIGN_IN_PROOF_FIELD,
]);

/** What was made for one list of fields, and for whom. */
interface Inward {
  readonly address: string;
  readonly authority: string;
  readonly version: string;
  readonly domain: string;
  readonly visitor: Visitor | undefined;
  readonly fields: FieldList;
}

const lately = new RecentOf<FieldList, { inward: Inward }>();

/** The head as it goes over the link. What is the same in the next request of this client is the same list then. */
export function inwardHead(
  request: ClientRequest,
  head: ParsedHead,
  { domain }: EdgeOptions,
  visitor?: Visitor,
): RequestHead {
  const { method, authority, target, bodyless, upgrade } = head;
  const fields = fieldsFor(head, request.client.address, domain, visitor);
  const more: FieldList = [['x-request-id', request.id]];
  if (upgrade === undefined) return { method, authority, target, fields, more, bodyless };
  return { method, authority, target, fields, more, bodyless, upgrade };
}

/** All that goes into it is compared: a list may come from several clients. */
function fieldsFor(head: ParsedHead, address: string, domain: string, visitor: Visitor | undefined): FieldList {
  const known = lately.get(head.fields);
  if (known !== undefined) {
    const { inward } = known;
    const isSame =
      inward.address === address &&
      inward.authority === head.authority &&
      inward.version === head.version &&
      inward.domain === domain &&
      isSameVisitor(inward.visitor, visitor);
    if (isSame) return inward.fields;
  }
  const { authority, version } = head;
  const fields = makeFields(head, address, domain, visitor);
  const inward = { address, authority, version, domain, visitor, fields };
  if (known === undefined) lately.keep(head.fields, { inward });
  else known.inward = inward;
  return fields;
}

function isSameVisitor(one: Visitor | undefined, other: Visitor | undefined): boolean {
  return (
    one?.user === other?.user &&
    one?.certificate === other?.certificate &&
    one?.proof === other?.proof &&
    one?.byPassword === other?.byPassword
  );
}

function makeFields(head: ParsedHead, address: string, domain: string, visitor: Visitor | undefined): FieldList {
  // The password was for the gateway; the service learns the name that it belongs to.
  const dropped = (name: string): boolean =>
    OURS.has(name) || name.startsWith('x-forwarded-') || (visitor?.byPassword === true && name === 'authorization');
  const fields = endToEndFields(head.fields).flatMap((field) => {
    if (field[0] !== 'cookie') return dropped(field[0]) ? [] : [field];
    const cookie = withoutOwnCookies(field[1]);
    return cookie === field[1] ? [field] : cookie === undefined ? [] : [['cookie', cookie] as const];
  });
  const node = address.includes(':') ? `"[${address}]"` : address;
  fields.push(
    ['x-forwarded-for', address],
    ['x-forwarded-host', head.authority],
    ['x-forwarded-proto', 'https'],
    ['x-real-ip', address],
    ['forwarded', `for=${node};host="${head.authority}";proto=https`],
    ['via', `${head.version} ${domain}`],
  );
  if (visitor === undefined) return fields;
  fields.push(['x-forwarded-user', encodeURIComponent(visitor.user)]);
  if (visitor.proof !== undefined) fields.push([SIGN_IN_PROOF_FIELD, visitor.proof]);
  if (visitor.certificate !== undefined) fields.push(['x-forwarded-client-cert', visitor.certificate]);
  return fields;
}
