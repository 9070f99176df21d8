/**
 * Who comes in under a name, asked before anything of a request reaches a member: by a client certificate, by a password, or
 * by the session of whoever signed in; and the gateway's own pages at which people sign in and out.
 */
import { isMoatError, type Clock, type Logger } from '@moat/core';
import { refusal } from '../errors.ts';
import type { EdgeAuth, OpenedWays } from '../publications/edge-rules.ts';
import { BasicAuth, type Visitor } from '../request/basic-auth.ts';
import type { ClientRequest } from '../request/client-request.ts';
import { htmlPage } from '../request/page.ts';
import { ownAnswer, type OwnAnswer } from '../request/respond.ts';
import { Issuers } from './issuers.ts';
import { KeyWay, SIGN_IN_PATH } from './key-way.ts';
import { CALLBACK_PATH, OidcWay } from './oidc-way.ts';
import { cookiesOf, fieldOf } from './own-fields.ts';
import { Questions } from './questions.ts';
import { Sessions } from './sessions.ts';

export interface DoorDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** The gateway's own, the same in each of its processes. */
  readonly secret: Uint8Array;
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
  readonly #keys: KeyWay;
  readonly #oidc: OidcWay;

  constructor(deps: DoorDeps, options: DoorOptions) {
    const { clock, logger, secret } = deps;
    this.#deps = deps;
    this.#basic = new BasicAuth(deps);
    this.#sessions = new Sessions(clock, { secret });
    this.#keys = new KeyWay({ clock, sessions: this.#sessions, questions: new Questions(clock, secret) });
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
      const user = this.#basic.check(auth.basic, authorization, request.client.address);
      return user instanceof Promise ? user.then(() => undefined) : { visitor: user };
    }
    const session = this.#sessions.find(cookiesOf(request), { host: request.head.host, ways: auth.mark });
    if (session !== undefined) return { visitor: { user: session.user } };
    return this.#ask(request, auth);
  }

  #answerOwn(request: ClientRequest, auth: OpenedWays): OwnAnswer | Promise<OwnAnswer> | undefined {
    const { target, host } = request.head;
    if (!target.startsWith(OWN_PATHS)) return undefined;
    const { oidc, keys } = auth;
    const [path] = target.split('?', 1);
    if (path === SIGN_IN_PATH && keys !== undefined) return this.#keys.answer(request, auth, keys);
    if (path === CALLBACK_PATH && oidc !== undefined) return this.#oidc.finish(request, auth, oidc);
    if (path === SIGN_OUT_PATH && (oidc !== undefined || keys !== undefined)) {
      const page = htmlPage('Signed out', `<p>This browser is signed in at ${host} no more.</p>`);
      return ownAnswer(200, 'OK', 'text/html; charset=utf-8', page, [['set-cookie', this.#sessions.end()]]);
    }
    return undefined;
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

function askForPassword(realm: string): ReturnType<typeof refusal> {
  return refusal('AUTH_REQUIRED', 'this name asks for a user and a password', { details: { realm } });
}
