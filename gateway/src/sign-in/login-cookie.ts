/**
 * A login at a provider that was begun in one browser: its state, nonce and PKCE verifier, and where it was to lead, in a cookie
 * of that browser, good for ten minutes and one host. Nothing is remembered here.
 */
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import type { SessionScope } from './sessions.ts';

export interface Login {
  readonly state: string;
  readonly nonce: string;
  readonly verifier: string;
  /** A local path. */
  readonly returnTo: string;
}

export interface LoginCookiesDeps {
  /** Milliseconds since the epoch. */
  now(): number;
}

const NAME = '__Host-moat-login';
const LASTS_MS = 600_000;
const MAX_COOKIE_CHARS = 4_096;
const MAX_RETURN_CHARS = 1_024;
const ATTRIBUTES = 'Path=/; Secure; HttpOnly; SameSite=Lax';

export class LoginCookies {
  readonly #deps: LoginCookiesDeps;
  readonly #key: Buffer;

  constructor(deps: LoginCookiesDeps, secret: Uint8Array) {
    this.#deps = deps;
    this.#key = Buffer.from(hkdfSync('sha256', secret, '', 'moat/login/1', 32));
  }

  /** The field value that begins a login. */
  begin(login: Login, scope: SessionScope): string {
    const untilMs = this.#deps.now() + LASTS_MS;
    const body = Buffer.from(JSON.stringify({ ...login, untilMs })).toString('base64url');
    return `${NAME}=${body}.${this.#mac(body, scope)}; ${ATTRIBUTES}; Max-Age=${LASTS_MS / 1_000}`;
  }

  /** The field value that ends it. */
  end(): string {
    return `${NAME}=; ${ATTRIBUTES}; Max-Age=0`;
  }

  find(cookie: string | undefined, scope: SessionScope): Login | undefined {
    if (cookie === undefined || cookie.length > 4 * MAX_COOKIE_CHARS) return undefined;
    const pair = cookie
      .split(';')
      .map((text) => text.trim())
      .find((text) => text.startsWith(`${NAME}=`));
    const [body = '', mac = ''] = pair?.slice(NAME.length + 1).split('.', 2) ?? [];
    const expected = Buffer.from(this.#mac(body, scope));
    const given = Buffer.from(mac);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
    // Nobody else can have written it.
    const { untilMs, ...login } = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as Login & {
      readonly untilMs: number;
    };
    return untilMs > this.#deps.now() ? login : undefined;
  }

  #mac(body: string, { host, ways }: SessionScope): string {
    const mac = createHmac('sha256', this.#key);
    for (const part of [host, ways, body]) mac.update(`${part.length}:`).update(part);
    return mac.digest('base64url');
  }
}

/** `target` where it is a path of this host that a browser takes for one, or the first page. */
export function localPath(target: string): string {
  const isLocal = /^\/(?![/\\])[!-[\]-~]*$/.test(target) && target.length <= MAX_RETURN_CHARS;
  return isLocal && !target.startsWith('/.well-known/moat/') ? target : '/';
}
