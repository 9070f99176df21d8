/**
 * What a publication's edge rules need, opened: its boxes with this gateway's key. Opened once for each publication and
 * forgotten with it; never hashed to be found again, since routes are made anew for all of them at once.
 */
import { X509Certificate, createHash, type KeyObject } from 'node:crypto';
import { isMoatError, type DeploymentId, type OwnerKey } from '@moat/core';
import {
  canonicalBytes,
  openSecret,
  parseBasicUsers,
  type BoxedSecret,
  type OidcAuth,
  type Publication,
  type ScryptHash,
} from '@moat/contract';
import { refusal } from '../errors.ts';

/** Who may come in under a name; `unreadable` = nobody, until its publisher boxes the secrets anew. */
export type EdgeAuth = OpenedWays | { readonly kind: 'unreadable' };

/** Ways in, as plain data that a worker can be sent; whoever takes one of them is let in. */
export interface OpenedWays {
  readonly kind: 'ways';
  readonly deployment: DeploymentId;
  /** Changes with anything that is written about who comes in. */
  readonly mark: string;
  readonly basic?: BasicWay;
  readonly oidc?: OidcWay;
  readonly mtls?: MtlsWay;
  readonly keys?: readonly OwnerKey[];
  /** Members ask too, and are passed on what a visitor showed. */
  readonly enforce?: 'member';
}

export interface BasicWay {
  readonly deployment: DeploymentId;
  readonly realm: string;
  readonly users: ReadonlyMap<string, ScryptHash>;
}

export interface OidcWay extends Omit<OidcAuth, 'secret'> {
  readonly secret: string;
}

export interface MtlsWay {
  /** PEM of the authorities. */
  readonly ca: string;
  /** Changes with them. */
  readonly mark: string;
}

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
    const message = `nobody gets in under ${publication.name}: this gateway cannot read its secrets; apply again, with the gateway's box key of today (/.well-known/moat) if it changed`;
    return refusal('SECRET_UNREADABLE', message);
  }

  #open(publication: Publication): EdgeAuth {
    const { auth, deployment, name, salt } = publication;
    if (auth === undefined) return { kind: 'unreadable' };
    const open = (boxed: BoxedSecret): string =>
      Buffer.from(openSecret(boxed, this.#deps.boxKey, { deployment, name, salt })).toString('utf8');
    const { basic, oidc, mtls, keys, enforce } = auth;
    try {
      const users = auth.users ?? (basic && open(basic));
      return {
        kind: 'ways',
        deployment,
        mark: digest(deployment, canonicalBytes(auth)),
        ...(users !== undefined && { basic: { deployment, realm: name, users: parseBasicUsers(users) } }),
        ...(oidc && { oidc: { ...oidc, secret: open(oidc.secret) } }),
        ...(mtls && { mtls: { ca: readable(mtls.ca), mark: digest(mtls.ca) } }),
        ...(keys && { keys }),
        ...(enforce && { enforce }),
      };
    } catch (error) {
      if (isMoatError(error)) return { kind: 'unreadable' };
      throw error;
    }
  }
}

/** Contracts say only that it looks like certificates. @throws `CERTIFICATE_INVALID` */
function readable(ca: string): string {
  for (const pem of ca.split(/(?=-----BEGIN)/)) {
    if (!isCertificate(pem)) throw refusal('CERTIFICATE_INVALID', 'an authority of client certificates cannot be read');
  }
  return ca;
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}

function digest(...parts: readonly (string | Uint8Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return hash.digest('base64url');
}
