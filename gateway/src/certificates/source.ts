/** Where a gateway's certificates come from, as a part of it. */
import type { CertificateIssuer } from '@moat/acme';
import type { GatewayCertificate } from '@moat/admin-api';
import type { Service } from '@moat/core';
import type { CertificateSource } from './contexts.ts';

/** A source with a life: it looks at files, or orders and renews. */
export interface Certificates extends CertificateSource, Service {
  /** What the operator is told. */
  list(): GatewayCertificate[];
  /** Authorities it orders from, as CAA records name them. */
  issuers(): readonly CertificateIssuer[];
  /** Other names than before lead somewhere. */
  namesChanged(): void;
}

/** RFC 3339; null for what is not there. */
export function timeOf(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
