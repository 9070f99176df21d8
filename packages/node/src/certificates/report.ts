/** What this machine holds for names that are passed through to it, as the local API says it. */
import { X509Certificate } from 'node:crypto';
import type { CertificateIssuer, CertificateReport } from '@moat/acme';
import type { MemberCertificate } from '@moat/admin-api';
import type { PassedName } from './passed-names.ts';

/** What is known of certificates, from wherever they come. */
export interface CertificateFacts {
  readonly names: readonly PassedName[];
  readonly ordered: readonly CertificateReport[];
  readonly issuers: readonly CertificateIssuer[];
  /** Of a file that covers the host. */
  fileFor(host: string): X509Certificate | undefined;
  readonly nowMs: number;
}

export function reportCertificates(facts: CertificateFacts): MemberCertificate[] {
  return facts.names.map((name): MemberCertificate => {
    const { host, deployment, service } = name;
    const common = { host, deployment, service, caa: caaRecords(host, facts.issuers) };
    const file = facts.fileFor(host);
    if (file !== undefined) {
      const isOver = file.validToDate.getTime() <= facts.nowMs;
      return {
        ...common,
        source: 'files',
        ...shown(file),
        state: isOver ? 'expired' : 'valid',
        next: null,
        failure: null,
      };
    }
    const report = facts.ordered.find(({ names }) => names.includes(host));
    const held = report?.held && new X509Certificate(report.held.certificate);
    const failure = report?.failure;
    return {
      ...common,
      source: report === undefined ? 'none' : 'acme',
      ...(held === undefined ? { issuer: null, fingerprint: null, notAfter: null } : shown(held)),
      state: report?.state ?? 'waiting',
      next: timeOf(report?.nextMs),
      failure:
        failure === undefined
          ? null
          : {
              code: failure.code,
              message: failure.message,
              count: failure.count,
              at: new Date(failure.atMs).toISOString(),
            },
    };
  });
}

function shown(certificate: X509Certificate): Pick<MemberCertificate, 'issuer' | 'fingerprint' | 'notAfter'> {
  return {
    issuer: /^(?:O|CN)=(.+)$/m.exec(certificate.issuer)?.[1] ?? certificate.issuer,
    fingerprint: certificate.fingerprint256.replaceAll(':', '').toLowerCase(),
    notAfter: certificate.validToDate.toISOString(),
  };
}

/** RFC 8657: this account, and this way to prove the name, alone. */
function caaRecords(host: string, issuers: readonly CertificateIssuer[]): string[] {
  return issuers.flatMap(({ identity, accountUri }) =>
    accountUri === undefined
      ? []
      : `${host}. IN CAA 0 issue "${identity}; accounturi=${accountUri}; validationmethods=tls-alpn-01"`,
  );
}

function timeOf(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
