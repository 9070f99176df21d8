/**
 * What a publication's edge rules need, opened: its box with this gateway's key. Opened once for each publication and
 * forgotten with it; never hashed to be found again, since routes are made anew for all of them at once.
 */
import type { KeyObject } from 'node:crypto';
import { isMoatError, type DeploymentId } from '@moat/core';
import { openSecret, parseBasicUsers, type Publication, type ScryptHash } from '@moat/contract';
import { refusal } from '../errors.ts';

/** Who may come in under a name; `unreadable` = nobody, until its publisher boxes the secret anew. */
export type EdgeAuth =
  | {
      readonly kind: 'basic';
      readonly deployment: DeploymentId;
      readonly realm: string;
      readonly users: ReadonlyMap<string, ScryptHash>;
    }
  | { readonly kind: 'unreadable' };

export interface EdgeRulesDeps {
  /** X25519 private key of this gateway. */
  readonly boxKey: KeyObject;
}

export class EdgeRules {
  readonly #deps: EdgeRulesDeps;
  readonly #opened = new WeakMap<Publication, EdgeAuth>();

  constructor(deps: EdgeRulesDeps) {
    this.#deps = deps;
  }

  /** Undefined where anybody may come in. */
  authOf(publication: Publication): EdgeAuth | undefined {
    if (publication.auth === undefined) return undefined;
    const known = this.#opened.get(publication);
    if (known !== undefined) return known;
    const auth = this.#open(publication);
    this.#opened.set(publication, auth);
    return auth;
  }

  /** Why a publication cannot be served as it is; for its publisher. */
  problemOf(publication: Publication): ReturnType<typeof refusal> | undefined {
    if (this.authOf(publication)?.kind !== 'unreadable') return undefined;
    const message = `nobody gets in under ${publication.name}: this gateway cannot read its users; apply again, with the gateway's box key of today (/.well-known/moat) if it changed`;
    return refusal('SECRET_UNREADABLE', message);
  }

  #open(publication: Publication): EdgeAuth {
    const { auth, deployment, name, salt } = publication;
    if (auth?.basic === undefined) return { kind: 'unreadable' };
    try {
      const secret = openSecret(auth.basic, this.#deps.boxKey, { deployment, name, salt });
      return { kind: 'basic', deployment, realm: name, users: parseBasicUsers(Buffer.from(secret).toString('utf8')) };
    } catch (error) {
      if (isMoatError(error)) return { kind: 'unreadable' };
      throw error;
    }
  }
}
