/** Orders at a real authority: pebble, which refuses nonces and takes no old proofs for new ones. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { suite, test } from 'node:test';
import { silentLogger, systemClock } from '@moat/core';
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
import { startPebble, withoutPebble, type Pebble } from './pebble.ts';
import { dnsSolver, httpSolver, tlsSolver } from './solvers.ts';

const HOUR_MS = 3_600_000;

interface Started extends AsyncDisposable {
  readonly certificates: AcmeCertificates;
  obtained(host: string): Promise<HeldCertificate>;
  reported(check: (report: CertificateReport) => boolean): Promise<CertificateReport>;
}

async function begin(
  parts: { readonly store?: CertificateStore; readonly solvers: readonly ChallengeSolver[] },
  options: AcmeCertificatesOptions,
): Promise<Started> {
  const certificates = createAcmeCertificates(
    {
      clock: systemClock,
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

const at = ({ directory, trust }: Pebble): { directory: string; trust: string } => ({ directory, trust });

suite('a real authority', { ...(withoutPebble !== undefined && { skip: withoutPebble }), timeout: 60_000 }, () => {
  test('a name is proved over http, and its certificate is of that authority', async () => {
    await using solver = await httpSolver();
    await using pebble = await startPebble({ httpPort: solver.port });
    await using started = await begin(
      { solvers: [solver] },
      { authorities: [{ ...at(pebble), email: 'ops@example.com' }] },
    );
    started.certificates.want([['shop.example.com']]);
    const held = await started.obtained('shop.example.com');
    const leaf = new X509Certificate(held.certificate);
    assert.equal(leaf.checkHost('shop.example.com'), 'shop.example.com');
    assert.equal(leaf.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
    const [report] = started.certificates.list();
    assert.equal(report?.state, 'valid');
    assert.match(report.issuer ?? '', /Pebble/);
    assert.ok((report.nextMs ?? 0) > Date.now() + HOUR_MS);
    assert.equal(pebble.issued(), 1);
  });

  test('a name is proved in a TLS handshake', async () => {
    await using solver = await tlsSolver();
    await using pebble = await startPebble({ tlsPort: solver.port });
    await using started = await begin({ solvers: [solver] }, { authorities: [at(pebble)] });
    started.certificates.want([['shop.example.com']]);
    await started.obtained('shop.example.com');
    assert.deepEqual(
      solver.seen.map(({ kind, name }) => [kind, name]),
      [['tls-alpn-01', 'shop.example.com']],
    );
  });

  test('a wildcard is proved by DNS', async () => {
    await using pebble = await startPebble();
    const solver = dnsSolver(() => pebble);
    await using started = await begin({ solvers: [solver] }, { authorities: [at(pebble)] });
    started.certificates.want([['apps.example.com', '*.apps.example.com']]);
    const held = await started.obtained('shop.apps.example.com');
    assert.deepEqual(held, await started.obtained('apps.example.com'));
    assert.equal(started.certificates.find('a.shop.apps.example.com'), undefined, 'a wildcard is one label');
  });

  test('a proof that does not show is refused in the words of the authority, and not tried again at once', async () => {
    await using solver = await httpSolver();
    await using pebble = await startPebble({ httpPort: solver.port });
    await using second = await startPebble({ httpPort: solver.port });
    solver.honest = false;
    await using started = await begin({ solvers: [solver] }, { authorities: [at(pebble), at(second)] });
    started.certificates.want([['shop.example.com']]);
    const report = await started.reported(({ failure, state }) => failure !== undefined && state === 'waiting');
    assert.equal(report.failure?.code, 'ACME_CHALLENGE_FAILED');
    assert.match(report.failure.message, /did not see the http-01 proof for shop\.example\.com: ./);
    assert.ok((report.nextMs ?? 0) > Date.now() + 2 * 60_000);
    assert.equal(second.orders(), 0, 'what fails here fails there');
    assert.equal(
      await started.certificates.obtain('shop.example.com', 5_000),
      undefined,
      'nobody waits for a later try',
    );
  });

  test('a second authority is asked where the first is down, or has no account for us', async () => {
    await using solver = await httpSolver();
    await using down = await startPebble({ httpPort: solver.port });
    await down.kill();
    await using bound = await startPebble({ httpPort: solver.port, eab: { 'kid-1': HMAC } });
    await using second = await startPebble({ httpPort: solver.port });
    await using started = await begin({ solvers: [solver] }, { authorities: [at(down), at(bound), at(second)] });
    started.certificates.want([['shop.example.com']]);
    await started.obtained('shop.example.com');
    const [report] = started.certificates.list();
    assert.equal(report?.directory, second.directory);
    assert.equal(report.failure, undefined, 'what was obtained is no failure');
    assert.equal(second.issued(), 1);
  });

  test('an account is bound to one that the authority knows', async () => {
    await using solver = await httpSolver();
    await using pebble = await startPebble({ httpPort: solver.port, eab: { 'kid-1': HMAC } });
    await using started = await begin(
      { solvers: [solver] },
      { authorities: [{ ...at(pebble), eab: { kid: 'kid-1', hmacKey: HMAC } }] },
    );
    started.certificates.want([['shop.example.com']]);
    await started.obtained('shop.example.com');
  });

  test('an authority that forgot our account gets another', async () => {
    await using solver = await httpSolver();
    await using pebble = await startPebble({ httpPort: solver.port });
    const store = new MemoryCertificateStore();
    {
      await using started = await begin({ solvers: [solver], store }, { authorities: [at(pebble)] });
      started.certificates.want([['one.example.com']]);
      await started.obtained('one.example.com');
    }
    await pebble.kill();
    await pebble.restart();
    await using started = await begin({ solvers: [solver], store }, { authorities: [at(pebble)] });
    started.certificates.want([['one.example.com'], ['two.example.com']]);
    await started.obtained('two.example.com');
  });

  test('an order that was begun goes on after a stop at any step, and is not placed twice', async () => {
    await using solver = await httpSolver();
    await using pebble = await startPebble({ httpPort: solver.port });
    const kept = new MemoryCertificateStore();
    // A process that dies as it keeps the certificate: it was issued, and nothing of it is on disk.
    const dying: CertificateStore = {
      load: () => kept.load(),
      commit: (change) => (change.certificate ? new Promise(() => undefined) : kept.commit(change)),
    };
    const first = createAcmeCertificates(
      { clock: systemClock, logger: silentLogger, store: dying, solvers: [solver] },
      { authorities: [at(pebble)] },
    );
    await first.start({ signal: AbortSignal.timeout(5_000) });
    first.want([['shop.example.com']]);
    while (pebble.issued() === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    await using started = await begin({ solvers: [solver], store: kept }, { authorities: [at(pebble)] });
    started.certificates.want([['shop.example.com']]);
    await started.obtained('shop.example.com');
    assert.equal(pebble.orders(), 1);
    assert.equal(pebble.issued(), 1);
    assert.deepEqual((await kept.load()).orders, []);
  });
});

const HMAC = 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W';
