/** Certificates of a process under test, with a look at what becomes of them. */
import assert from 'node:assert/strict';
import { silentLogger, systemClock, type Clock } from '@moat/core';
import {
  MemoryCertificateStore,
  createAcmeCertificates,
  type AcmeCertificates,
  type AcmeCertificatesOptions,
  type CertificateReport,
  type CertificateStore,
  type ChallengeSolver,
  type HeldCertificate,
} from '@moat/acme';
import type { Pebble } from './pebble.ts';

export interface Started extends AsyncDisposable {
  readonly certificates: AcmeCertificates;
  obtained(host: string): Promise<HeldCertificate>;
  reported(check: (report: CertificateReport) => boolean): Promise<CertificateReport>;
}

export async function begin(
  parts: { readonly store?: CertificateStore; readonly solvers: readonly ChallengeSolver[]; readonly clock?: Clock },
  options: AcmeCertificatesOptions,
): Promise<Started> {
  const certificates = createAcmeCertificates(
    {
      clock: parts.clock ?? systemClock,
      logger: silentLogger,
      store: parts.store ?? new MemoryCertificateStore(),
      solvers: parts.solvers,
    },
    options,
  );
  await certificates.start({ signal: AbortSignal.timeout(5_000) });
  return {
    certificates,
    async obtained(host) {
      const held = await certificates.obtain(host, 15_000);
      assert.ok(held, `no certificate for ${host}: ${JSON.stringify(certificates.list())}`);
      return held;
    },
    async reported(check) {
      const until = Date.now() + 15_000;
      for (;;) {
        const found = certificates.list().find(check);
        if (found) return found;
        assert.ok(Date.now() < until, `not reported: ${JSON.stringify(certificates.list())}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    [Symbol.asyncDispose]: () => certificates.stop(),
  };
}

/** As an authority to order from. */
export const at = ({ directory, trust }: Pebble): { directory: string; trust: string } => ({ directory, trust });
