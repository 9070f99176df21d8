/** Certificates whose source can be another one while the gateway runs: other files, another authority. */
import type { GatewayConfig } from '../config.ts';
import { openCertificates, type OpenCertificatesDeps } from './open.ts';
import type { LocalAuthority } from './local-ca.ts';
import type { Certificates } from './source.ts';

/** The source that is in force, and what it takes to make another. */
export class ReplaceableCertificates implements Certificates {
  readonly #deps: OpenCertificatesDeps;
  readonly authority: LocalAuthority | undefined;
  #current: Certificates;
  #config: GatewayConfig;

  private constructor(
    deps: OpenCertificatesDeps,
    config: GatewayConfig,
    opened: { readonly certificates: Certificates; readonly authority: LocalAuthority | undefined },
  ) {
    this.#deps = deps;
    this.#config = config;
    this.#current = opened.certificates;
    this.authority = opened.authority;
  }

  /** Reads what the configured source needs. @throws as {@link openCertificates} */
  static async open(deps: OpenCertificatesDeps, config: GatewayConfig): Promise<ReplaceableCertificates> {
    return new ReplaceableCertificates(deps, config, await openCertificates(deps, config));
  }

  /**
   * Takes another `tls` into use; the authority of this machine neither begins nor ends so.
   * @throws `CERTIFICATE_INVALID`, codes of private files; everything stays as it was then
   */
  async reconfigure(next: GatewayConfig): Promise<void> {
    const { domain, tls } = next;
    if (JSON.stringify(tls) === JSON.stringify(this.#config.tls) || tls === 'local' || this.authority) return;
    const { certificates } = await openCertificates(this.#deps, next);
    // One after the other: two would order the same certificate.
    await this.#current.stop();
    this.#current = certificates;
    this.#config = next;
    await certificates.start({ signal: AbortSignal.timeout(START_MS) });
    this.#deps.changed([domain, ...this.#deps.hosts()]);
  }

  certificateFor: Certificates['certificateFor'] = (host) => this.#current.certificateFor(host);

  list(): ReturnType<Certificates['list']> {
    return this.#current.list();
  }

  issuers(): ReturnType<Certificates['issuers']> {
    return this.#current.issuers();
  }

  namesChanged(): void {
    this.#current.namesChanged();
  }

  start(options: { readonly signal: AbortSignal }): Promise<void> {
    return this.#current.start(options);
  }

  stop(): Promise<void> {
    return this.#current.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

const START_MS = 30_000;
