/**
 * Sign-in at an OpenID Connect provider: authorization code with PKCE, state and nonce, all of one browser's cookie. What the
 * provider answers is checked by `openid-client`; who may come in is decided here.
 * Bound: {@link MAX_RUNNING} logins are finished at once, and {@link FAILED_PER_HOUR} may fail an hour and address.
 */
import { addressKey, errorCode, type Clock, type Logger } from '@moat/core';
import {
  ClientError,
  ResponseBodyError,
  authorizationCodeGrant,
  buildAuthorizationUrl,
  calculatePKCECodeChallenge,
  fetchUserInfo,
  randomNonce,
  randomPKCECodeVerifier,
  randomState,
  type Configuration,
} from 'openid-client';
import { refusal } from '../errors.ts';
import type { OidcWay as Way, OpenedWays } from '../publications/edge-rules.ts';
import { HourlyQuota } from '../publications/hourly-quota.ts';
import type { ClientRequest } from '../request/client-request.ts';
import { ownAnswer, type OwnAnswer } from '../request/respond.ts';
import type { Issuers } from './issuers.ts';
import { LoginCookies, localPath, type Login } from './login-cookie.ts';
import { cookiesOf } from './own-fields.ts';
import type { Sessions } from './sessions.ts';

export const CALLBACK_PATH = '/.well-known/moat/callback';

const MAX_RUNNING = 64;
const FAILED_PER_HOUR = 120;
const MAX_USER_CHARS = 256;
const MAX_REASON_CHARS = 64;

export interface OidcWayDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly secret: Uint8Array;
  readonly sessions: Sessions;
  readonly issuers: Pick<Issuers, 'get'>;
}

export class OidcWay {
  readonly #deps: OidcWayDeps;
  readonly #logins: LoginCookies;
  readonly #failed: HourlyQuota;
  #running = 0;

  constructor(deps: OidcWayDeps) {
    this.#deps = deps;
    this.#logins = new LoginCookies(deps.clock, deps.secret);
    this.#failed = new HourlyQuota(deps, { perHour: () => FAILED_PER_HOUR });
  }

  /** Sends a browser to the provider. @throws `ISSUER_UNREACHABLE` */
  async begin({ head }: ClientRequest, { mark }: OpenedWays, way: Way): Promise<OwnAnswer> {
    const configuration = await this.#deps.issuers.get(way);
    const login: Login = {
      state: randomState(),
      nonce: randomNonce(),
      verifier: randomPKCECodeVerifier(),
      returnTo: localPath(head.target),
    };
    const url = buildAuthorizationUrl(configuration, {
      redirect_uri: `https://${head.authority}${CALLBACK_PATH}`,
      scope: 'openid email',
      state: login.state,
      nonce: login.nonce,
      code_challenge: await calculatePKCECodeChallenge(login.verifier),
      code_challenge_method: 'S256',
    });
    return redirect(url.href, [this.#logins.begin(login, { host: head.host, ways: mark })]);
  }

  /** Takes a browser that the provider sent back. @throws `SIGN_IN_FAILED`, `SIGN_IN_REFUSED`, `ISSUER_UNREACHABLE`, `RATE_LIMITED`, `GATEWAY_BUSY` */
  async finish(request: ClientRequest, { mark }: OpenedWays, way: Way): Promise<OwnAnswer> {
    const { head, client } = request;
    if (head.method !== 'GET') throw refusal('METHOD_REFUSED', 'this page is only read');
    const origin = addressKey(client.address);
    const waitMs = this.#failed.waitMs(origin);
    if (waitMs > 0) {
      const message = 'too many sign-ins from this address failed';
      throw refusal('RATE_LIMITED', message, { retryable: true, details: { retryAfterMs: waitMs } });
    }
    const scope = { host: head.host, ways: mark };
    const login = this.#logins.find(cookiesOf(request), scope);
    if (login === undefined) {
      this.#failed.take(origin);
      throw refusal('SIGN_IN_FAILED', 'no sign-in that this browser began is open here');
    }
    if (this.#running >= MAX_RUNNING) {
      throw refusal('GATEWAY_BUSY', 'too many people are signing in', { retryable: true });
    }
    this.#running += 1;
    try {
      const user = await this.#userOf(new URL(`https://${head.authority}${head.target}`), login, way);
      return redirect(login.returnTo, [this.#deps.sessions.begin(user, scope), this.#logins.end()]);
    } catch (error) {
      this.#failed.take(origin);
      const fields = { component: 'gateway.signIn', requestId: request.id, host: head.host, reason: reasonOf(error) };
      this.#deps.logger.info(fields, 'sign-in at a provider failed');
      throw error;
    } finally {
      this.#running -= 1;
    }
  }

  async #userOf(url: URL, { state, nonce, verifier }: Login, way: Way): Promise<string> {
    const configuration = await this.#deps.issuers.get(way);
    let claims: Claims;
    try {
      const tokens = await authorizationCodeGrant(configuration, url, {
        pkceCodeVerifier: verifier,
        expectedState: state,
        expectedNonce: nonce,
        idTokenExpected: true,
      });
      const said = tokens.claims();
      if (said === undefined) throw new Error('no id token');
      claims = said.email === undefined ? await this.#infoOf(configuration, tokens.access_token, said.sub) : said;
    } catch (cause) {
      throw failed(cause);
    }
    return admitted(claims, way);
  }

  /** Some providers say the address of mail only there. */
  async #infoOf(configuration: Configuration, token: string, subject: string): Promise<Claims> {
    if (configuration.serverMetadata().userinfo_endpoint === undefined) return { sub: subject };
    return fetchUserInfo(configuration, token, subject);
  }
}

interface Claims {
  readonly sub: string;
  readonly email?: unknown;
  readonly email_verified?: unknown;
}

/** Who it is for the service. @throws `SIGN_IN_REFUSED` */
function admitted({ sub, email, email_verified: isVerified }: Claims, { emails, emailDomains }: Way): string {
  const mail = typeof email === 'string' && isVerified === true ? email.toLowerCase() : undefined;
  const isOpen = emails === undefined && emailDomains === undefined;
  const isNamed =
    mail !== undefined &&
    (emails?.includes(mail) === true || emailDomains?.includes(mail.slice(mail.lastIndexOf('@') + 1)) === true);
  const user = mail ?? sub;
  if ((isOpen || isNamed) && user !== '' && user.length <= MAX_USER_CHARS) return user;
  const who = mail ?? 'whoever has no verified address of mail';
  throw refusal('SIGN_IN_REFUSED', `${who} may not come in under this name`);
}

/** What the provider did not answer at all may be asked again; what it answered wrongly is over. */
function failed(cause: unknown): ReturnType<typeof refusal> {
  const isSilent = cause instanceof ClientError ? isNetwork(cause.cause) : isNetwork(cause);
  if (!isSilent) return refusal('SIGN_IN_FAILED', 'the provider did not confirm this sign-in', { cause });
  const message = 'the provider at which people sign in does not answer';
  return refusal('ISSUER_UNREACHABLE', message, { cause, retryable: true });
}

function isNetwork(cause: unknown): boolean {
  const code = errorCode(cause);
  return code === 'ISSUER_UNREACHABLE' || /^(?:E[A-Z_]+|ABORT_ERR)$/.test(code);
}

/** In one word, for the operator: messages of a provider may hold what is nobody's to keep. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  if (cause instanceof ResponseBodyError) return cause.error.slice(0, MAX_REASON_CHARS);
  return errorCode(cause ?? error);
}

function redirect(location: string, cookies: readonly string[]): OwnAnswer {
  return ownAnswer(303, 'OK', 'text/plain; charset=utf-8', 'Sign-in goes on at the address of Location.\n', [
    ['location', location],
    ...cookies.map((cookie) => ['set-cookie', cookie] as const),
  ]);
}
