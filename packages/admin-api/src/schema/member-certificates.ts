/** Certificates of this machine for names that gateways pass through to it. Times are RFC 3339. */
import { z } from 'zod';
import type { CertificateFailure } from './gateway-certificates.ts';

/** One name. */
export interface MemberCertificate {
  readonly host: string;
  readonly deployment: string;
  readonly service: string;
  readonly source: 'acme' | 'files' | 'none';
  /** `ordering` and `waiting` (for the next try): there is none yet. */
  readonly state: 'valid' | 'expired' | 'ordering' | 'waiting';
  readonly issuer: string | null;
  /** SHA-256 of the certificate that this machine shows, in hex. */
  readonly fingerprint: string | null;
  readonly notAfter: string | null;
  /** When it is renewed, or tried again. */
  readonly next: string | null;
  readonly failure: CertificateFailure | null;
  /** Records for the name's zone that keep everybody else from getting a certificate. */
  readonly caa: readonly string[];
}

export interface MemberCertificates {
  readonly certificates: readonly MemberCertificate[];
}

const certificateSchema = z
  .object({
    host: z.string(),
    deployment: z.string(),
    service: z.string(),
    source: z.enum(['acme', 'files', 'none']),
    state: z.enum(['valid', 'expired', 'ordering', 'waiting']),
    issuer: z.string().nullable(),
    fingerprint: z.string().nullable(),
    notAfter: z.string().nullable(),
    next: z.string().nullable(),
    failure: z.object({ code: z.string(), message: z.string(), at: z.string(), count: z.number().int() }).nullable(),
    caa: z.array(z.string()),
  })
  .meta({ id: 'MemberCertificate' });

export const memberCertificatesSchema: z.ZodType<MemberCertificates> = z
  .object({ certificates: z.array(certificateSchema) })
  .meta({ id: 'MemberCertificates' });
