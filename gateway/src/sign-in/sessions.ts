/**
 * Who signed in, as a cookie that the browser keeps: nothing is remembered here, and every worker reads it. It is good
 * under one host, for the ways in that were written when it was made, and until it ends.
 */
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { sessionCookie, sessionValues } from './session-cookie.ts';

export interface SessionsDeps {
  /** Milliseconds since the epoch. */
  now(): number;
}

export interface Session {
  /** Who it is, for the service. */
  readonly user: string;
}

/** What a session is good for. */
export interface SessionScope {
  readonly host: string;
  /** A mark of the ways in, as they are written now: another list of people asks everybody anew. */
  readonly ways: string;
}

const DOMAIN = 'moat/session/1';
const MAX_USER_CHARS = 256;

export class Sessions {
  readonly #deps: SessionsDeps;
  readonly #key: Buffer;
  readonly #lastsMs: number;

  /** @param secret the gateway's own, the same in each of its processes. */
  constructor(deps: SessionsDeps, { secret, lastsMs = 12 * 3_600_000 }: { secret: Uint8Array; lastsMs?: number }) {
    this.#deps = deps;
    this.#key = Buffer.from(hkdfSync('sha256', secret, '', DOMAIN, 32));
    this.#lastsMs = lastsMs;
  }

  /** The field value that begins a session. */
  begin(user: string, scope: SessionScope): string {
    const body = `${(this.#deps.now() + this.#lastsMs).toString(36)}.${Buffer.from(user).toString('base64url')}`;
    const value = `${body}.${this.#mac(body, scope)}`;
    return sessionCookie(value, this.#lastsMs);
  }

  /** Whose session `cookie` holds, if it is good here and now. */
  find(cookie: string | undefined, scope: SessionScope): Session | undefined {
    for (const value of sessionValues(cookie)) {
      const session = this.#read(value, scope);
      if (session) return session;
    }
    return undefined;
  }

  #read(value: string, scope: SessionScope): Session | undefined {
    const [ends = '', name = '', mac = '', ...rest] = value.split('.', 4);
    if (rest.length > 0 || !/^[0-9a-z]{1,11}$/.test(ends)) return undefined;
    const expected = Buffer.from(this.#mac(`${ends}.${name}`, scope));
    const given = Buffer.from(mac);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
    const endsMs = Number.parseInt(ends, 36);
    const now = this.#deps.now();
    if (endsMs <= now || endsMs > now + this.#lastsMs) return undefined;
    const user = Buffer.from(name, 'base64url').toString('utf8');
    return user === '' || user.length > MAX_USER_CHARS ? undefined : { user };
  }

  #mac(body: string, { host, ways }: SessionScope): string {
    const mac = createHmac('sha256', this.#key);
    for (const part of [host, ways, body]) mac.update(`${part.length}:`).update(part);
    return mac.digest('base64url');
  }
}
