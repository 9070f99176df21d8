/**
 * Who comes in under a name whose `auth` says `enforce: member`: asked here, request by request, whatever the gateway
 * asked. A gateway passes on what a client showed it: a password, or a key's signature with a time ({@link SIGN_IN_PROOF_FIELD}). It
 * can show again what it saw, until that ends; it can make nothing up. The service sees neither, only who it is.
 */
import {
  SIGN_IN_PROOF_FIELD,
  SignInProofs,
  parseBasicCredentials,
  parseBasicUsers,
  type ContractView,
  type Publication,
  type ScryptHash,
} from '@moat/contract';
import { allFields, isMoatError, type FieldList, type OwnerKey, type RequestHead } from '@moat/core';
import type { NetworkErrorCode } from './errors.ts';
import { PasswordChecks } from './password-checks.ts';
import { lineKey, publishedLine, type PublicUse } from './published-line.ts';

export interface PublicAuthDeps {
  /** Milliseconds since 1970. */
  now(): number;
}

/** Who came in, as the head says it that its service gets; or why nobody did. */
export type Visit = { readonly head: RequestHead } | { readonly code: NetworkErrorCode };

/** What one name asks for. */
interface Held {
  readonly host: string;
  readonly users: ReadonlyMap<string, ScryptHash>;
  readonly keys: readonly OwnerKey[];
}

const REFUSED: Visit = { code: 'PUBLIC_AUTH' };

/** Bound: the publications of the contract. */
export class PublicAuth {
  readonly #deps: PublicAuthDeps;
  readonly #passwords: PasswordChecks;
  readonly #proofs = new SignInProofs();
  #held: ReadonlyMap<string, Held> = new Map();
  #view: ContractView | undefined;

  constructor(deps: PublicAuthDeps) {
    this.#deps = deps;
    this.#passwords = new PasswordChecks(deps);
  }

  update(view: ContractView): void {
    const held = new Map<string, Held>();
    for (const line of view.contract.publish) {
      const { auth, name, gateway } = line;
      if (auth?.enforce === undefined) continue;
      held.set(lineKey(line), {
        host: name.includes('.') ? name : `${name}.${gateway.domain}`,
        users: auth.users === undefined ? new Map() : parseBasicUsers(auth.users),
        keys: auth.keys ?? [],
      });
    }
    this.#held = held;
    this.#view = view;
    this.#passwords.retain((peer) => view.publishedAt(peer).length > 0);
  }

  /** Undefined where anybody may come in, as far as members ask; a promise only where a password has to be hashed. */
  visit(use: PublicUse): Visit | Promise<Visit> | undefined {
    if (this.#held.size === 0 || this.#view === undefined) return undefined;
    const line = publishedLine(this.#view, use, isHeld);
    const held = line && this.#held.get(lineKey(line));
    if (held === undefined) return undefined;
    const { requestHead: head, peer } = use;
    if (head === undefined) return REFUSED;
    const fields = allFields(head);
    const authorization = valueOf(fields, 'authorization');
    if (held.users.size > 0 && /^basic /i.test(authorization ?? '')) {
      const credentials = parseBasicCredentials(authorization);
      const hash = credentials && held.users.get(credentials.user);
      if (credentials === undefined || hash === undefined) return REFUSED;
      const answer = this.#passwords.check(credentials, hash, peer);
      const visitOf = (said: Awaited<typeof answer>): Visit => {
        if (said === 'right') return { head: introduced(head, credentials.user, true) };
        return said === 'wrong' ? REFUSED : { code: 'SERVICE_BUSY' };
      };
      return answer instanceof Promise ? answer.then(visitOf) : visitOf(answer);
    }
    const proof = valueOf(fields, SIGN_IN_PROOF_FIELD);
    const user = proof === undefined ? undefined : this.#signedBy(proof, held);
    return user === undefined ? REFUSED : { head: introduced(head, user, false) };
  }

  #signedBy(proof: string, { host, keys }: Held): OwnerKey | undefined {
    try {
      return this.#proofs.verify(proof, { host, keys, now: this.#deps.now() });
    } catch (error) {
      if (isMoatError(error, 'SIGN_IN_INVALID')) return undefined;
      throw error;
    }
  }
}

function isHeld({ auth }: Publication): boolean {
  return auth?.enforce === 'member';
}

/** What says who a visitor is, and what it was shown by: of a gateway's word nothing is left. */
const OURS: ReadonlySet<string> = new Set([SIGN_IN_PROOF_FIELD, 'x-forwarded-user', 'x-forwarded-client-cert']);

function introduced(head: RequestHead, user: string, byPassword: boolean): RequestHead {
  const { fields, more, ...rest } = head;
  const kept = (list: FieldList): FieldList =>
    list.filter(([written]) => {
      // Some services read other marks between words as the same name.
      const name = written.toLowerCase().replaceAll(/[_.]/g, '-');
      return !OURS.has(name) && !(byPassword && name === 'authorization');
    });
  const known: FieldList = [...kept(fields), ['x-forwarded-user', encodeURIComponent(user)]];
  return { ...rest, fields: known, ...(more === undefined ? {} : { more: kept(more) }) };
}

/** One value: whoever sends two wants them read differently. */
function valueOf(fields: FieldList, wanted: string): string | undefined {
  const values = fields.filter(([name]) => name.toLowerCase() === wanted);
  return values.length === 1 ? values[0]?.[1] : undefined;
}
