/** All certificates of a process: which are wanted, what is held, what is wrong. */
import type { Clock, Logger, Service } from '@moat/core';
import type { AuthorityOptions } from './authority.ts';
import type { ChallengeKind, ChallengeSolver } from './challenge.ts';
import type { CertificateStore } from './store.ts';

export interface AcmeCertificatesDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly store: CertificateStore;
  readonly solvers: readonly ChallengeSolver[];
  /** 0 to 1. @defaultValue Math.random */
  readonly random?: () => number;
}

export interface AcmeCertificatesOptions {
  /** In the order in which they are tried. At least one. */
  readonly authorities: readonly AuthorityOptions[];
  /** Kinds of proof, best first. @defaultValue the order of the solvers */
  readonly challenges?: readonly ChallengeKind[];
}

/** A certificate that can be served. */
export interface HeldCertificate {
  readonly names: readonly string[];
  /** PEM, leaf first. */
  readonly certificate: string;
  /** PEM. */
  readonly key: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly renewAtMs: number;
}

/** What there is to say of one certificate. */
export interface CertificateReport {
  readonly names: readonly string[];
  /** `ordering` while an order runs, `waiting` for the next try, `valid`, or `expired`. */
  readonly state: 'valid' | 'expired' | 'ordering' | 'waiting';
  /** Directory of the authority it came from, or is ordered from. */
  readonly directory: string;
  /** Undefined while there is none. */
  readonly held: HeldCertificate | undefined;
  /** As the certificate says it. */
  readonly issuer: string | undefined;
  /** Last failure since it was obtained. */
  readonly failure:
    { readonly code: string; readonly message: string; readonly atMs: number; readonly count: number } | undefined;
  /** When something is tried next: renewal, or another order. */
  readonly nextMs: number | undefined;
  /** Page of the authority that says why it is renewed early. */
  readonly explanation: string | undefined;
}

/** An authority that certificates are ordered from, as CAA records name it: RFC 8659, RFC 8657. */
export interface CertificateIssuer {
  /** Such as `letsencrypt.org`. */
  readonly identity: string;
  /** URL of our account there; undefined until there is one. */
  readonly accountUri: string | undefined;
}

/** Obtains, keeps and renews certificates for the names it is told, and for no others. */
export interface AcmeCertificates extends Service {
  /** Sets what is wanted: each entry the names of one certificate. What is not in it any more is not renewed. */
  want(certificates: readonly (readonly string[])[]): void;
  /** The best certificate that covers `host`; also one that is over, where there is no other. */
  find(host: string): HeldCertificate | undefined;
  /** As `find`; where there is none and an order runs, waits for it, at most `ms`. */
  obtain(host: string, ms: number): Promise<HeldCertificate | undefined>;
  /** Tells of each certificate that was obtained. Returns the way to stop. */
  onObtained(listener: (certificate: HeldCertificate) => void): () => void;
  list(): CertificateReport[];
  /** Authorities that say by which names CAA records know them; of one that was not asked yet nothing is known. */
  issuers(): CertificateIssuer[];
}
