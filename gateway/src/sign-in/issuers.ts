/**
 * Providers at which people sign in, as they describe themselves. A description is kept for an hour with the keys it led to; that
 * there was none, for {@link FAILED_MS}. Bound: {@link MAX_KNOWN}, the longest unused is dropped.
 */
import type { Clock } from '@moat/core';
import {
  ClientSecretBasic,
  ClientSecretPost,
  allowInsecureRequests,
  customFetch,
  discovery,
  enableNonRepudiationChecks,
  type ClientAuth,
  type Configuration,
} from 'openid-client';
import { refusal } from '../errors.ts';
import type { OidcWay } from '../publications/edge-rules.ts';
import { fetchIssuer, type IssuerFetchOptions, type IssuerRequest } from './issuer-fetch.ts';

export interface IssuersDeps {
  readonly clock: Clock;
}

const KEEP_MS = 3_600_000;
const FAILED_MS = 10_000;
const MAX_KNOWN = 256;
const TIMEOUT_S = 5;

interface Known {
  readonly configuration: Promise<Configuration>;
  untilMs: number;
}

export class Issuers {
  readonly #deps: IssuersDeps;
  readonly #options: IssuerFetchOptions;
  /** Order of the map is order of use. */
  readonly #known = new Map<string, Known>();

  constructor(deps: IssuersDeps, options: IssuerFetchOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** @throws `ISSUER_UNREACHABLE` */
  get(way: OidcWay): Promise<Configuration> {
    const key = JSON.stringify([way.issuer, way.clientId, way.secret]);
    const now = this.#deps.clock.now();
    let known = this.#known.get(key);
    if (known === undefined || known.untilMs <= now) known = this.#discover(way, now);
    this.#known.delete(key);
    this.#known.set(key, known);
    const [oldest] = this.#known.keys();
    if (this.#known.size > MAX_KNOWN && oldest !== undefined) this.#known.delete(oldest);
    return known.configuration;
  }

  #discover(way: OidcWay, now: number): Known {
    const known: Known = { configuration: discover(way, this.#options), untilMs: now + KEEP_MS };
    known.configuration.catch(() => {
      known.untilMs = this.#deps.clock.now() + FAILED_MS;
    });
    return known;
  }
}

async function discover({ issuer, clientId, secret }: OidcWay, options: IssuerFetchOptions): Promise<Configuration> {
  const fetching = (url: string, request: IssuerRequest): Promise<Response> => fetchIssuer(url, request, options);
  const isPlain = issuer.startsWith('http:');
  try {
    return await discovery(new URL(issuer), clientId, secret, byWhatItTakes(secret), {
      [customFetch]: fetching,
      timeout: TIMEOUT_S,
      execute: isPlain ? [allowInsecureRequests, enableNonRepudiationChecks] : [enableNonRepudiationChecks],
    });
  } catch (cause) {
    throw refusal('ISSUER_UNREACHABLE', 'the provider at which people sign in does not answer', {
      cause,
      retryable: true,
    });
  }
}

/** A provider that does not say what it takes takes `client_secret_basic` (RFC 8414 §2). */
function byWhatItTakes(secret: string): ClientAuth {
  const basic = ClientSecretBasic(secret);
  const post = ClientSecretPost(secret);
  return (server, client, body, headers) => {
    const methods = server.token_endpoint_auth_methods_supported;
    const takesBasic = methods === undefined || methods.includes('client_secret_basic');
    (takesBasic ? basic : post)(server, client, body, headers);
  };
}
