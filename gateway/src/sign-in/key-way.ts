/**
 * Sign-in with nothing but a key of Moat. `GET` of {@link SIGN_IN_PATH} asks a question; its signature, sent by `POST`, is
 * answered with a session's cookie, and with an address that a browser opens once to get one of its own: a page that says
 * whose, and a button, as whoever sent the address may be somebody else.
 * Bound: {@link WRONG_PER_HOUR} false answers an hour and address, {@link MAX_BODY_BYTES} each.
 */
import { addressKey, isMoatError, type Clock, type OwnerKey } from '@moat/core';
import { SIGN_IN_LASTS_MS, parseSignedSignIn, verifySignIn, type SignedSignIn } from '@moat/contract';
import { refusal } from '../errors.ts';
import { HourlyQuota } from '../publications/hourly-quota.ts';
import type { OpenedWays } from '../publications/edge-rules.ts';
import type { ClientRequest } from '../request/client-request.ts';
import { escapeHtml, htmlPage } from '../request/page.ts';
import { ownAnswer, prefersJson, type OwnAnswer } from '../request/respond.ts';
import { fieldOf, isOwnForm } from './own-fields.ts';
import type { ProofSessions } from './proof-sessions.ts';
import type { Questions } from './questions.ts';
import { readBody } from './read-body.ts';
import type { Sessions, SessionScope } from './sessions.ts';
import { TICKET_MS, type Ticket, type Tickets } from './tickets.ts';

export const SIGN_IN_PATH = '/.well-known/moat/sign-in';

const MAX_BODY_BYTES = 4_096;
const WRONG_PER_HOUR = 60;

export interface KeyWayDeps {
  readonly clock: Clock;
  readonly sessions: Sessions;
  readonly questions: Questions;
  readonly tickets: Tickets;
  /** Where members ask too. */
  readonly proofs: ProofSessions;
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
    const scope: KeyScope = { host, ways: ways.mark, keys, isHeld: ways.enforce === 'member' };
    const ticket = new URLSearchParams(target.split('?', 2)[1] ?? '').get('ticket');
    if (ticket !== null && isOwnForm(request)) return this.#redeem(ticket, scope);
    if (ticket !== null && method === 'GET') return this.#askForClick(ticket, host);
    if (method === 'POST' && ticket === null) return this.#signIn(request, scope);
    if (method !== 'GET') throw refusal('METHOD_REFUSED', 'this page is only read, or answered');
    if (prefersJson(fieldOf(request, 'accept'))) {
      const lasts = scope.isHeld ? { lastsMs: SIGN_IN_LASTS_MS } : {};
      return json({ host, nonce: this.#deps.questions.ask(host), ...lasts });
    }
    const page = `<p>People and machines whose keys may come in sign in with</p>
<p><code>moat sign-in ${escapeHtml(request.head.authority)}</code></p>`;
    return ownAnswer(200, 'OK', 'text/html; charset=utf-8', htmlPage('Sign in', page));
  }

  async #signIn(request: ClientRequest, scope: KeyScope): Promise<OwnAnswer> {
    // A browser that another site has sent here would be signed in as whoever signed.
    if (fieldOf(request, 'origin') !== undefined && !isOwnForm(request)) {
      throw refusal('SIGN_IN_REFUSED', 'a page of another site signs nobody in');
    }
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
    let ticket: Ticket;
    try {
      const signed = parsed(body);
      user = verified(signed, scope);
      ticket = scope.isHeld ? { user, proof: this.#deps.proofs.proofOf(signed, scope) } : { user };
      await this.#deps.questions.answer(signed.signIn.nonce, scope.host);
    } catch (error) {
      if (!isMoatError(error, 'GATEWAY_BUSY')) this.#wrong.take(origin);
      throw error;
    }
    const cookie = this.#cookie(ticket, scope);
    const url = `https://${request.head.authority}${SIGN_IN_PATH}?ticket=${this.#deps.tickets.issue(ticket, scope)}`;
    return json({ user, cookie: cookie.split(';', 1)[0], url, urlLastsMs: TICKET_MS }, cookie);
  }

  #askForClick(ticket: string, host: string): OwnAnswer {
    const { user } = this.#deps.tickets.read(ticket);
    const page = `<p>This browser will be signed in at <code>${escapeHtml(host)}</code> as <code>${escapeHtml(user)}</code>.
Go on only if that is you.</p>
<form method="post" action="${SIGN_IN_PATH}?ticket=${escapeHtml(encodeURIComponent(ticket))}"><button>Sign in</button></form>`;
    return ownAnswer(200, 'OK', 'text/html; charset=utf-8', htmlPage('Sign in', page), [
      ['referrer-policy', 'same-origin'],
    ]);
  }

  async #redeem(text: string, scope: KeyScope): Promise<OwnAnswer> {
    const ticket = await this.#deps.tickets.redeem(text, scope);
    return ownAnswer(303, 'OK', 'text/plain; charset=utf-8', 'Signed in.\n', [
      ['location', '/'],
      ['set-cookie', this.#cookie(ticket, scope)],
    ]);
  }

  #cookie({ user, proof }: Ticket, scope: KeyScope): string {
    return proof === undefined ? this.#deps.sessions.begin(user, scope) : this.#deps.proofs.begin(proof);
  }
}

interface KeyScope extends SessionScope {
  readonly keys: readonly OwnerKey[];
  /** Members ask too. */
  readonly isHeld: boolean;
}

/** Before the question is taken for answered: whoever has no key must not use up what is remembered of questions. */
function verified(signed: SignedSignIn, { host, keys }: KeyScope): OwnerKey {
  try {
    return verifySignIn(signed, { host, nonce: signed.signIn.nonce, keys });
  } catch (cause) {
    if (!isMoatError(cause, 'SIGN_IN_INVALID')) throw cause;
    throw refusal('SIGN_IN_REFUSED', cause.message, { cause });
  }
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
