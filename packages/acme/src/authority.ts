/** One certificate authority: our account there, and the requests of RFC 8555 that an order needs. */
import type { Authorization, Client, Order } from 'acme-client';
import { errorCode, isMoatError, type Clock } from '@moat/core';
import { createKey } from './certificate-request.ts';
import type { Challenge, ChallengeKind } from './challenge.ts';
import { failure } from './errors.ts';
import { PROBLEM } from './problem.ts';
import type { RenewalWindow } from './schedule.ts';
import type { AccountRecord, CertificateStore } from './store.ts';
import { AcmeTransport, type AcmeAnswer } from './transport.ts';

/** An authority to order from. */
export interface AuthorityOptions {
  /** URL of its directory; https. */
  readonly directory: string;
  /** PEM of the authorities its own https is verified by. @defaultValue the public ones */
  readonly trust?: string;
  /** Contact of the account. */
  readonly email?: string;
  /** External Account Binding, RFC 8555 §7.3.4; `hmacKey` in base64url. */
  readonly eab?: { readonly kid: string; readonly hmacKey: string };
  /** One of those its directory lists. */
  readonly profile?: string;
}

export interface AuthorityDeps {
  readonly clock: Clock;
  readonly store: Pick<CertificateStore, 'commit'>;
}

/** When an authority wants a certificate renewed. */
export interface RenewalInfo {
  readonly window: RenewalWindow;
  /** Milliseconds after which to ask again, as it says. */
  readonly retryAfterMs: number | undefined;
  readonly explanation: string | undefined;
}

/** What a directory may say, of which only this is read here. */
interface Directory {
  readonly renewalInfo?: unknown;
  readonly meta?: {
    readonly profiles?: unknown;
    readonly externalAccountRequired?: unknown;
    readonly caaIdentities?: unknown;
  };
}

/** Parts of acme-client's client that its types leave out. */
interface ClientInside {
  readonly http: {
    request(url: string, method: string, options?: { readonly data?: unknown }): Promise<AcmeAnswer>;
    getDirectory(): Promise<Directory>;
  };
}

export class Authority {
  readonly directory: string;
  /** In memory: no order is placed before, for any name. */
  blockedUntilMs = 0;
  readonly #deps: AuthorityDeps;
  readonly #options: AuthorityOptions;
  readonly #transport: AcmeTransport;
  #account: AccountRecord | undefined;
  #client: Promise<Client> | undefined;
  #identities: readonly string[] = [];

  /** @param account as it was kept */
  constructor(
    deps: AuthorityDeps,
    options: AuthorityOptions,
    { account, signal }: { readonly account: AccountRecord | undefined; readonly signal: AbortSignal },
  ) {
    this.#deps = deps;
    this.#options = options;
    this.directory = options.directory;
    this.#account = account;
    this.#transport = new AcmeTransport(deps, { trust: options.trust, signal });
  }

  /** Names that CAA records know it by (RFC 8659), once its directory was read. */
  get identities(): readonly string[] {
    return this.#identities;
  }

  /** URL of our account there; undefined until there is one. */
  get accountUrl(): string | undefined {
    return this.#account?.url;
  }

  /** Host name of the directory, for messages. */
  get host(): string {
    return URL.parse(this.directory)?.host ?? this.directory;
  }

  /**
   * Places an order.
   * @param replaces the renewal id of the certificate it is to replace
   */
  newOrder(names: readonly string[], replaces: string | undefined): Promise<Order> {
    return this.#ask(async (client) => {
      const { profile } = this.#options;
      const { renewalInfo } = await this.#directory(client);
      const request = {
        identifiers: names.map((value) => ({ type: 'dns', value })),
        ...(profile !== undefined && { profile }),
        ...(replaces !== undefined && typeof renewalInfo === 'string' && { replaces }),
      };
      return client.createOrder(request);
    });
  }

  /** How an order stands. */
  order(url: string): Promise<Order> {
    return this.#ask((client) => client.getOrder({ url } as Order));
  }

  authorizations(order: Order): Promise<Authorization[]> {
    return this.#ask((client) => client.getAuthorizations(order));
  }

  /** How one authorization stands. */
  async authorization(url: string): Promise<Authorization | undefined> {
    const [only] = await this.authorizations({ authorizations: [url] } as unknown as Order);
    return only;
  }

  /** What a solver is to show. */
  challenge(name: string, kind: ChallengeKind, token: string): Promise<Challenge> {
    return this.#ask(async (client) => ({
      kind,
      name,
      token,
      // In the form of http-01, of which the others are hashes.
      keyAuthorization: await client.getChallengeKeyAuthorization({
        type: 'http-01',
        token,
        url: '',
        status: 'pending',
      }),
    }));
  }

  /** Has the authority look at what is shown. */
  async tellReady(challenge: Authorization['challenges'][number]): Promise<void> {
    await this.#ask((client) => client.completeChallenge(challenge));
  }

  /** @param request PEM */
  finalize(order: Order, request: string): Promise<Order> {
    return this.#ask((client) => client.finalizeOrder(order, request));
  }

  /** The chain of an order that is valid, PEM. */
  certificate(order: Order): Promise<string> {
    return this.#ask((client) => client.getCertificate(order));
  }

  /** RFC 9773; undefined where the authority gives none, or nothing of use. */
  async renewalInfo(renewalId: string): Promise<RenewalInfo | undefined> {
    const client = await this.#opened();
    const { renewalInfo } = await this.#directory(client);
    if (typeof renewalInfo !== 'string') return undefined;
    const { data } = await this.#transport.request(`${renewalInfo.replace(/\/$/, '')}/${renewalId}`, 'get');
    if (typeof data !== 'object' || data === null) return undefined;
    const { suggestedWindow, explanationURL } = data as { suggestedWindow?: unknown; explanationURL?: unknown };
    const { start, end } = (suggestedWindow ?? {}) as { start?: unknown; end?: unknown };
    const window = { startMs: Date.parse(String(start)), endMs: Date.parse(String(end)) };
    if (!(window.startMs < window.endMs)) return undefined;
    return {
      window,
      retryAfterMs: this.#transport.retryAfterMs(data),
      explanation:
        typeof explanationURL === 'string' && /^https?:\/\/[\x21-\x7e]{1,500}$/.test(explanationURL)
          ? explanationURL
          : undefined,
    };
  }

  /** Milliseconds the authority asked to wait when it gave this object. */
  retryAfterMs(body: object): number | undefined {
    return this.#transport.retryAfterMs(body);
  }

  close(): void {
    this.#transport.close();
  }

  /** Runs a request with our account; makes another one where the authority knows it no more. */
  async #ask<T>(run: (client: Client) => Promise<T>): Promise<T> {
    try {
      return await this.#translated(async () => run(await this.#registered()));
    } catch (error) {
      if (!isMoatError(error) || error.details['type'] !== PROBLEM.noAccount || this.#account?.url === undefined)
        throw error;
      this.#account = { ...this.#account, url: undefined };
      this.#client = undefined;
      return this.#translated(async () => run(await this.#registered()));
    }
  }

  /** acme-client's own complaints are about answers that are not as RFC 8555 has them. */
  async #translated<T>(run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (cause) {
      if (isMoatError(cause) || errorCode(cause) === 'ABORT_ERR' || !(cause instanceof Error)) throw cause;
      const message = `${this.host} does not answer as an authority: ${cause.message.slice(0, 200)}`;
      throw failure('ACME_UNREACHABLE', message, { cause, retryable: true });
    }
  }

  async #registered(): Promise<Client> {
    const client = await this.#opened();
    if (this.#account?.url === undefined) await this.#register(client);
    return client;
  }

  /** One client at a time, so that two first orders make one account. */
  #opened(): Promise<Client> {
    this.#client ??= this.#open().catch((error: unknown) => {
      this.#client = undefined;
      throw error;
    });
    return this.#client;
  }

  async #open(): Promise<Client> {
    const { directory, eab } = this.#options;
    // Loaded with the first order: most processes never place one.
    const { Client: AcmeClient } = await import('acme-client');
    if (!this.#account) {
      const account: AccountRecord = { directory, key: createKey(), url: undefined };
      // Before the authority hears of it: a crash must not leave an account without a key.
      await this.#deps.store.commit({ account });
      this.#account = account;
    }
    const { key, url } = this.#account;
    const client = new AcmeClient({
      directoryUrl: directory,
      accountKey: key,
      ...(url !== undefined && { accountUrl: url }),
      ...(eab && { externalAccountBinding: eab }),
    });
    const { http } = client as unknown as ClientInside;
    http.request = (target, method, options) => this.#transport.request(target, method, options?.data);
    return client;
  }

  #registering: Promise<void> | undefined;

  #register(client: Client): Promise<void> {
    this.#registering ??= this.#createAccount(client).finally(() => (this.#registering = undefined));
    return this.#registering;
  }

  async #createAccount(client: Client): Promise<void> {
    const { email, eab, profile } = this.#options;
    const { meta } = await this.#directory(client);
    if (meta?.externalAccountRequired === true && !eab) {
      throw failure('ACME_REFUSED', `${this.host} wants an account of its own: set \`eab\` (External Account Binding)`);
    }
    if (profile !== undefined) this.#checkProfile(profile, meta?.profiles);
    await client.createAccount({
      termsOfServiceAgreed: true,
      ...(email !== undefined && { contact: [`mailto:${email}`] }),
    });
    const url = client.getAccountUrl();
    if (!this.#account) return;
    this.#account = { ...this.#account, url };
    await this.#deps.store.commit({ account: this.#account });
  }

  #checkProfile(profile: string, known: unknown): void {
    const names = typeof known === 'object' && known !== null ? Object.keys(known).slice(0, 20) : [];
    if (names.includes(profile)) return;
    const has = names.length === 0 ? 'it has none' : `it has ${names.join(', ')}`;
    throw failure('ACME_REFUSED', `${this.host} has no profile ${profile}: ${has}`);
  }

  async #directory(client: Client): Promise<Directory> {
    const directory = await this.#translated(() => (client as unknown as ClientInside).http.getDirectory());
    const { caaIdentities } = directory.meta ?? {};
    this.#identities = Array.isArray(caaIdentities) ? caaIdentities.filter(isDomain).slice(0, 10) : [];
    return directory;
  }
}

/** It goes into records of others' zones. */
function isDomain(value: unknown): value is string {
  return typeof value === 'string' && /^[a-z0-9.-]{1,253}$/.test(value);
}
