/**
 * Sign-in with nothing but a key of Moat. `GET` of {@link SIGN_IN_PATH} asks a question; its signature, sent by `POST`, is
 * answered with a session's cookie, and with an address that a browser opens once to get one of its own.
 * Bound: {@link WRONG_PER_HOUR} false answers an hour and address, {@link MAX_BODY_BYTES} each.
 */
import { addressKey, isMoatError, type Clock, type OwnerKey } from '@moat/core';
import { parseSignedSignIn, verifySignIn, type SignedSignIn } from '@moat/contract';
import { refusal } from '../errors.ts';
import { HourlyQuota } from '../publications/hourly-quota.ts';
import type { OpenedWays } from '../publications/edge-rules.ts';
import type { ClientRequest } from '../request/client-request.ts';
import { escapeHtml, htmlPage } from '../request/page.ts';
import { ownAnswer, prefersJson, type OwnAnswer } from '../request/respond.ts';
import { fieldOf } from './own-fields.ts';
import type { Questions } from './questions.ts';
import { readBody } from './read-body.ts';
import type { Sessions, SessionScope } from './sessions.ts';

export const SIGN_IN_PATH = '/.well-known/moat/sign-in';

const MAX_BODY_BYTES = 4_096;
const WRONG_PER_HOUR = 60;
const TICKET_MS = 60_000;
const MAX_TICKET_CHARS = 512;

export interface KeyWayDeps {
  readonly clock: Clock;
  readonly sessions: Sessions;
  readonly questions: Questions;
}

export class KeyWay {
  readonly #deps: KeyWayDeps;
  readonly #wrong: HourlyQuota;

  constructor(deps: KeyWayDeps) {
    this.#deps = deps;
    this.#wrong = new HourlyQuota(deps, { perHour: () => WRONG_PER_HOUR });
  }

  /** @throws `METHOD_REFUSED`, `SIGN_IN_EXPIRED`, `SIGN_IN_REFUSED`, `RATE_LIMITED` and the codes of a body */
  answer(request: ClientRequest, ways: OpenedWays, keys: readonly OwnerKey[]): OwnAnswer | Promise<OwnAnswer> {
    const { method, host, target } = request.head;
    const scope = { host, ways: ways.mark };
    if (method === 'POST') return this.#signIn(request, keys, scope);
    if (method !== 'GET') throw refusal('METHOD_REFUSED', 'this page is only read, or answered');
    const ticket = new URLSearchParams(target.slice(target.indexOf('?') + 1)).get('ticket');
    if (ticket !== null) return this.#redeem(ticket, scope);
    if (prefersJson(fieldOf(request, 'accept'))) return json({ host, nonce: this.#deps.questions.ask(host) });
    const page = `<p>People and machines whose keys may come in sign in with</p>
<p><code>moat sign-in ${escapeHtml(request.head.authority)}</code></p>`;
    return ownAnswer(200, 'OK', 'text/html; charset=utf-8', htmlPage('Sign in', page));
  }

  async #signIn(request: ClientRequest, keys: readonly OwnerKey[], scope: SessionScope): Promise<OwnAnswer> {
    const origin = addressKey(request.client.address);
    const waitMs = this.#wrong.waitMs(origin);
    if (waitMs > 0) {
      throw refusal('RATE_LIMITED', 'this address answered too many questions wrongly', {
        retryable: true,
        details: { retryAfterMs: waitMs },
      });
    }
    const body = await readBody(this.#deps.clock, request, MAX_BODY_BYTES);
    let user: OwnerKey;
    try {
      user = this.#verified(parsed(body), keys, scope.host);
    } catch (error) {
      this.#wrong.take(origin);
      throw error;
    }
    const cookie = this.#deps.sessions.begin(user, scope);
    const name = Buffer.from(user).toString('base64url');
    const nonce = this.#deps.questions.ask(ticketScope(user, scope), TICKET_MS);
    const url = `https://${request.head.authority}${SIGN_IN_PATH}?ticket=${name}.${nonce}`;
    return json({ user, cookie: cookie.split(';', 1)[0], url, urlLastsMs: TICKET_MS }, cookie);
  }

  /** The signature first: whoever has no key must not use up what is remembered of questions. */
  #verified(signed: SignedSignIn, keys: readonly OwnerKey[], host: string): OwnerKey {
    const { nonce } = signed.signIn;
    try {
      const key = verifySignIn(signed, { host, nonce, keys });
      this.#deps.questions.answer(nonce, host);
      return key;
    } catch (cause) {
      if (!isMoatError(cause, 'SIGN_IN_INVALID')) throw cause;
      throw refusal('SIGN_IN_REFUSED', cause.message, { cause });
    }
  }

  #redeem(ticket: string, scope: SessionScope): OwnAnswer {
    const [name = '', nonce = ''] = ticket.length > MAX_TICKET_CHARS ? [] : ticket.split('.', 2);
    const user = Buffer.from(name, 'base64url').toString('utf8');
    this.#deps.questions.answer(nonce, ticketScope(user, scope));
    return ownAnswer(303, 'OK', 'text/plain; charset=utf-8', 'Signed in.\n', [
      ['location', '/'],
      ['set-cookie', this.#deps.sessions.begin(user, scope)],
    ]);
  }
}

/** No host has a blank in it: a ticket is no question, and no question a ticket. */
function ticketScope(user: string, { host, ways }: SessionScope): string {
  return `ticket ${host} ${ways} ${user}`;
}

function parsed(body: Buffer): SignedSignIn {
  try {
    return parseSignedSignIn(JSON.parse(body.toString('utf8')));
  } catch (cause) {
    throw refusal('REQUEST_MALFORMED', 'this is no signed sign-in', { cause });
  }
}

function json(value: object, cookie?: string): OwnAnswer {
  const more = cookie === undefined ? [] : [['set-cookie', cookie] as const];
  return ownAnswer(200, 'OK', 'application/json; charset=utf-8', `${JSON.stringify(value)}\n`, more);
}
