/** Certificates as a gateway tells of them. Times are RFC 3339. */
import { z } from 'zod';

/** What went wrong with a certificate last, since it was obtained. */
export interface CertificateFailure {
  readonly code: string;
  readonly message: string;
  readonly at: string;
  /** Tries that failed. */
  readonly count: number;
}

/** One certificate, or the want of one. */
export interface GatewayCertificate {
  readonly names: readonly string[];
  /** `local` = the gateway's own authority makes one for each name when it is asked for. */
  readonly source: 'acme' | 'files' | 'local';
  /** `ordering` and `waiting` (for the next try): there is none yet. */
  readonly state: 'valid' | 'expired' | 'ordering' | 'waiting';
  /** Who issued it. */
  readonly issuer: string | null;
  readonly notBefore: string | null;
  readonly notAfter: string | null;
  /** Directory of the authority, or path of the file. */
  readonly origin: string;
  /** When it is renewed, or obtained, or tried again. */
  readonly next: string | null;
  readonly failure: CertificateFailure | null;
  /** Page of the authority that says why it is renewed early. */
  readonly explanation: string | null;
}

/** All of them. */
export interface GatewayCertificates {
  readonly certificates: readonly GatewayCertificate[];
}

const failureSchema = z.object({ code: z.string(), message: z.string(), at: z.string(), count: z.number().int() });

const certificateSchema = z
  .object({
    names: z.array(z.string()),
    source: z.enum(['acme', 'files', 'local']),
    state: z.enum(['valid', 'expired', 'ordering', 'waiting']),
    issuer: z.string().nullable(),
    notBefore: z.string().nullable(),
    notAfter: z.string().nullable(),
    origin: z.string(),
    next: z.string().nullable(),
    failure: failureSchema.nullable(),
    explanation: z.string().nullable(),
  })
  .meta({ id: 'GatewayCertificate' });

export const gatewayCertificatesSchema: z.ZodType<GatewayCertificates> = z
  .object({ certificates: z.array(certificateSchema) })
  .meta({ id: 'GatewayCertificates' });
