/**
 * What is kept of accounts, orders, certificates and failures. Every change is on disk when its promise resolves, or has
 * not happened. Keys are in these records: an implementation seals them.
 *
 * A certificate is known by its `id`: its names, sorted, joined by commas ({@link certificateId}).
 */

/** An account at an authority. */
export interface AccountRecord {
  /** URL of the authority's directory. */
  readonly directory: string;
  /** PEM, PKCS#8, ECDSA P-256. */
  readonly key: string;
  /** Undefined until the authority has answered. */
  readonly url: string | undefined;
}

/** An order that is not at its end, one an id and authority: it is taken up again after a restart. */
export interface OrderRecord {
  readonly id: string;
  readonly names: readonly string[];
  readonly directory: string;
  /** PEM of the certificate's key, made before the order. */
  readonly key: string;
  /** Undefined until the authority has answered. */
  readonly url: string | undefined;
  readonly createdMs: number;
}

/** A certificate that was obtained. */
export interface CertificateRecord {
  readonly id: string;
  readonly names: readonly string[];
  readonly directory: string;
  /** PEM, leaf first. */
  readonly certificate: string;
  /** PEM, PKCS#8. */
  readonly key: string;
  readonly obtainedMs: number;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** When it is to be renewed. */
  readonly renewAtMs: number;
  /** When the authority is to be asked again when it wants it renewed (RFC 9773); undefined where it has no say. */
  readonly askAgainMs: number | undefined;
  /** Page of the authority that says why it is to be renewed early. */
  readonly explanation: string | undefined;
}

/** What went wrong with a certificate at an authority last; gone once it is obtained. */
export interface FailureRecord {
  readonly id: string;
  readonly directory: string;
  /** Failures since it was last obtained. */
  readonly count: number;
  readonly atMs: number;
  /** No sooner is it tried again. */
  readonly nextMs: number;
  readonly code: string;
  /** One sentence for people. */
  readonly message: string;
}

/** Something an authority counts. */
export interface SpentRecord {
  readonly directory: string;
  readonly kind: 'order' | 'certificate';
  readonly id: string;
  readonly atMs: number;
}

/** Changes that stand or fall together. */
export interface CertificateChange {
  readonly account?: AccountRecord;
  readonly order?: OrderRecord;
  readonly certificate?: CertificateRecord;
  readonly failure?: FailureRecord;
  readonly spent?: readonly SpentRecord[];
  /** An order that ended. */
  readonly endedOrder?: Pick<OrderRecord, 'id' | 'directory'>;
  /** Ids of which everything but what was spent goes. */
  readonly forgotten?: readonly string[];
  /** Id of a certificate whose failures, at all authorities, go. */
  readonly healed?: string;
  /** What was spent before is counted no more. */
  readonly spentBeforeMs?: number;
}

/** Everything that is kept. */
export interface CertificateState {
  readonly accounts: readonly AccountRecord[];
  readonly orders: readonly OrderRecord[];
  readonly certificates: readonly CertificateRecord[];
  readonly failures: readonly FailureRecord[];
  readonly spent: readonly SpentRecord[];
}

export interface CertificateStore {
  load(): Promise<CertificateState>;
  /** Resolves when the change is on disk. */
  commit(change: CertificateChange): Promise<void>;
}

/** The id of a certificate for `names`. */
export function certificateId(names: readonly string[]): string {
  return names.toSorted().join(',');
}
