/**
 * Who comes in under a name, asked before anything of a request reaches a member: by a client certificate, by a password, or
 * by the session of whoever signed in; and the gateway's own pages at which people sign in and out.
 */
import { isMoatError, type Clock, type Logger } from '@moat/core';
import { refusal } from '../errors.ts';
import type { EdgeAuth, OpenedWays } from '../publications/edge-rules.ts';
import { BasicAuth, type Visitor } from '../request/basic-auth.ts';
import type { ClientRequest } from '../request/client-request.ts';
import { escapeHtml, htmlPage } from '../request/page.ts';
import { ownAnswer, type OwnAnswer } from '../request/respond.ts';
import type { Taken } from './answered.ts';
import { Issuers } from './issuers.ts';
import { KeyWay, SIGN_IN_PATH } from './key-way.ts';
import { CALLBACK_PATH, OidcWay } from './oidc-way.ts';
import { cookiesOf, fieldOf, isOwnForm } from './own-fields.ts';
import { ProofSessions } from './proof-sessions.ts';
import { Questions } from './questions.ts';
import { endSessionCookie } from './session-cookie.ts';
import { Sessions } from './sessions.ts';
import { Tickets } from './tickets.ts';

export interface DoorDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The gateway's own, the same in each of its processes. */
  readonly secret: Uint8Array;
  /** One for all of them, too. */
  readonly answered: AnsweredPort;
}

/** Whether something is answered for the first time anywhere at this gateway. May reject. */
export interface AnsweredPort {
  /** Questions of another one are answered by nobody. */
  readonly epoch: Uint8Array;
  take(nonce: string, untilMs: number, scope: string): Taken | Promise<Taken>;
}

export interface DoorOptions {
  /** Whether providers may be reached at addresses that are not public. */
  readonly privateIssuers: boolean;
}

/** Somebody comes in, or gets an answer of the gateway itself. */
export type Entry =
  { readonly visitor: Visitor; readonly answer?: never } | { readonly answer: OwnAnswer; readonly visitor?: never };

const SIGN_OUT_PATH = '/.well-known/moat/sign-out';
const OWN_PATHS = '/.well-known/moat/';

export class Door {
  readonly #deps: DoorDeps;
  readonly #basic: BasicAuth;
  readonly #sessions: Sessions;
  readonly #proofs: ProofSessions;
  readonly #keys: KeyWay;
  readonly #oidc: OidcWay;

  constructor(deps: DoorDeps, options: DoorOptions) {
    const { clock, logger, secret, answered } = deps;
    this.#deps = deps;
    this.#basic = new BasicAuth(deps);
    this.#sessions = new Sessions(clock, { secret });
    this.#proofs = new ProofSessions(clock);
    const asking = { now: () => clock.now(), epoch: answered.epoch, take: answered.take.bind(answered) };
    const questions = new Questions(asking, secret);
    const tickets = new Tickets({ questions }, secret);
    this.#keys = new KeyWay({ clock, sessions: this.#sessions, proofs: this.#proofs, questions, tickets });
    this.#oidc = new OidcWay({
      clock,
      logger,
      secret,
      sessions: this.#sessions,
      issuers: new Issuers({ clock }, options),
    });
  }

  /**
   * A promise only where something has to be waited for; undefined = it is over, and the request enters anew.
   * @throws the codes of all ways in; a promise rejects with them
   */
  enter(request: ClientRequest, auth: EdgeAuth): Entry | Promise<Entry | undefined> {
    if (auth.kind === 'unreadable') throw refusal('SECRET_UNREADABLE', 'nobody can be let in under this name now');
    const own = this.#answerOwn(request, auth);
    if (own !== undefined) return own instanceof Promise ? own.then((answer) => ({ answer })) : { answer: own };
    const visitor = this.#byCertificate(request, auth);
    if (visitor !== undefined) return { visitor };
    const authorization = fieldOf(request, 'authorization');
    if (auth.basic !== undefined && /^basic /i.test(authorization ?? '')) {
      const visitor = this.#basic.check(auth.basic, authorization, request.client.address);
      if (visitor instanceof Promise) return visitor.then(() => undefined);
      // Members that ask too get the password, and pass it on to nobody.
      return { visitor: auth.enforce === undefined ? visitor : { user: visitor.user } };
    }
    const session = this.#bySession(request, auth);
    return session === undefined ? this.#ask(request, auth) : { visitor: session };
  }

  #answerOwn(request: ClientRequest, auth: OpenedWays): OwnAnswer | Promise<OwnAnswer> | undefined {
    const { target } = request.head;
    if (!target.startsWith(OWN_PATHS)) return undefined;
    const { oidc, keys } = auth;
    const [path] = target.split('?', 1);
    if (path === SIGN_IN_PATH && keys !== undefined) return this.#keys.answer(request, auth, keys);
    if (path === CALLBACK_PATH && oidc !== undefined) return this.#oidc.finish(request, auth, oidc);
    if (path === SIGN_OUT_PATH && (oidc !== undefined || keys !== undefined)) return signOut(request);
    return undefined;
  }

  #bySession(request: ClientRequest, { enforce, keys = [], mark }: OpenedWays): Visitor | undefined {
    const { host } = request.head;
    const cookies = cookiesOf(request);
    if (enforce === undefined) return this.#sessions.find(cookies, { host, ways: mark });
    return this.#proofs.find(cookies, { host, keys });
  }

  /** What was shown counts for these authorities and while it is good; a connection may outlive both. */
  #byCertificate({ client: { certificate } }: ClientRequest, { mtls }: OpenedWays): Visitor | undefined {
    if (mtls === undefined || certificate === undefined || certificate.authority !== mtls.mark) return undefined;
    if (this.#deps.clock.now() >= certificate.untilMs) return undefined;
    return { user: certificate.user, certificate: certificate.field };
  }

  #ask(request: ClientRequest, auth: OpenedWays): Promise<Entry> {
    const { head } = request;
    const { basic, oidc, keys } = auth;
    const isReading = head.method === 'GET' || head.method === 'HEAD';
    // A program would take the provider's page for the answer.
    const isBrowser =
      isReading && head.upgrade === undefined && (fieldOf(request, 'accept') ?? '').includes('text/html');
    if (oidc !== undefined && isBrowser) {
      return this.#oidc.begin(request, auth, oidc).then(
        (answer) => ({ answer }),
        (error: unknown) => {
          // Where the provider is down there may be another way in.
          if (isMoatError(error, 'ISSUER_UNREACHABLE') && basic !== undefined) throw askForPassword(basic.realm);
          throw error;
        },
      );
    }
    if (basic !== undefined) throw askForPassword(basic.realm);
    if (keys !== undefined) {
      const message = `this name asks who comes in: sign in with \`moat sign-in ${head.authority}\``;
      throw refusal('AUTH_REQUIRED', message, { details: { signIn: head.host } });
    }
    if (oidc === undefined) throw refusal('CERTIFICATE_REQUIRED', 'this name asks for a client certificate');
    throw refusal('AUTH_REQUIRED', 'this name asks who comes in: sign in with a browser', {
      details: { signIn: head.host },
    });
  }
}

/** Nobody else's page can do it for its visitors: only the button of ours does. */
function signOut(request: ClientRequest): OwnAnswer {
  const { host, method } = request.head;
  const where = escapeHtml(host);
  if (isOwnForm(request)) {
    const page = htmlPage('Signed out', `<p>This browser is signed in at ${where} no more.</p>`);
    return ownAnswer(200, 'OK', 'text/html; charset=utf-8', page, [['set-cookie', endSessionCookie()]]);
  }
  if (method !== 'GET') throw refusal('METHOD_REFUSED', 'only the button of this page signs out');
  const form = `<form method="post" action="${SIGN_OUT_PATH}"><button>Sign out of ${where}</button></form>`;
  return ownAnswer(200, 'OK', 'text/html; charset=utf-8', htmlPage('Sign out', form));
}

function askForPassword(realm: string): ReturnType<typeof refusal> {
  return refusal('AUTH_REQUIRED', 'this name asks for a user and a password', { details: { realm } });
}
