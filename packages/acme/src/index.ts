/**
 * Certificates from any ACME authority (RFC 8555): ordered once, kept, renewed before they are over. The names, the
 * ways to prove them and the place where all is kept come from outside.
 *
 * @example
 * ```ts
 * import { createChallengeCertificate, type ChallengeSolver } from '@moat/acme';
 * const solver: ChallengeSolver = {
 *   kind: 'tls-alpn-01',
 *   solves: (_name, wildcard) => !wildcard,
 *   present: async (challenge) => void (await createChallengeCertificate(challenge, Date.now())), // … and serve it
 *   remove: () => Promise.resolve(),
 * };
 * ```
 * @packageDocumentation
 */
export {
  type AcmeCertificates,
  type AcmeCertificatesDeps,
  type AcmeCertificatesOptions,
  type CertificateIssuer,
  type CertificateReport,
  type HeldCertificate,
} from './certificates.ts';
export {
  ACME_TLS_PROTOCOL,
  challengePath,
  challengeRecord,
  createChallengeCertificate,
  tokenOfPath,
  type Challenge,
  type ChallengeCertificate,
  type ChallengeKind,
  type ChallengeSolver,
} from './challenge.ts';
export type { AuthorityOptions } from './authority.ts';
export { createAcmeCertificates } from './managed.ts';
export { ACME_ERROR_CODES, type AcmeErrorCode } from './errors.ts';
export { MemoryCertificateStore } from './store.memory.ts';
export {
  certificateId,
  type AccountRecord,
  type CertificateChange,
  type CertificateRecord,
  type CertificateState,
  type CertificateStore,
  type FailureRecord,
  type OrderRecord,
  type SpentRecord,
} from './store.ts';
