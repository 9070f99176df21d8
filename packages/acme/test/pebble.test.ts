/** Orders at a real authority: pebble, which refuses nonces and takes no old proofs for new ones. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { after, before, suite, test } from 'node:test';
import { silentLogger, systemClock } from '@moat/core';
import { MemoryCertificateStore, createAcmeCertificates, type CertificateStore } from '@moat/acme';
import { startPebble, withoutPebble, type Pebble } from './pebble.ts';
import { dnsSolver, httpSolver, tlsSolver, type ServingSolver } from './solvers.ts';
import { at, begin } from './started.ts';

const HOUR_MS = 3_600_000;

suite('a real authority', { ...(withoutPebble !== undefined && { skip: withoutPebble }), timeout: 60_000 }, () => {
  let web: ServingSolver;
  let tls: ServingSolver;
  let pebble: Pebble;

  before(async () => {
    web = await httpSolver();
    tls = await tlsSolver();
    pebble = await startPebble({ httpPort: web.port, tlsPort: tls.port });
  });
  after(async () => {
    await pebble[Symbol.asyncDispose]();
    await web[Symbol.asyncDispose]();
    await tls[Symbol.asyncDispose]();
  });

  test('a name is proved over http, and its certificate is of that authority', async () => {
    await using started = await begin(
      { solvers: [web] },
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
  });

  test('a name is proved in a TLS handshake', async () => {
    await using started = await begin({ solvers: [tls] }, { authorities: [at(pebble)] });
    started.certificates.want([['tls.example.com']]);
    await started.obtained('tls.example.com');
    assert.deepEqual(
      tls.seen.map(({ kind, name }) => [kind, name]),
      [['tls-alpn-01', 'tls.example.com']],
    );
  });

  test('a wildcard is proved by DNS', async () => {
    const solver = dnsSolver(() => pebble);
    await using started = await begin({ solvers: [solver] }, { authorities: [at(pebble)] });
    started.certificates.want([['apps.example.com', '*.apps.example.com']]);
    const held = await started.obtained('shop.apps.example.com');
    assert.deepEqual(held, await started.obtained('apps.example.com'));
    assert.equal(started.certificates.find('a.shop.apps.example.com'), undefined, 'a wildcard is one label');
  });

  test('a proof that does not show is refused in the words of the authority, and not tried again at once', async () => {
    await using second = await startPebble();
    web.honest = false;
    await using started = await begin({ solvers: [web] }, { authorities: [at(pebble), at(second)] });
    started.certificates.want([['elsewhere.example.com']]);
    const report = await started.reported(({ failure, state }) => failure !== undefined && state === 'waiting');
    assert.equal(report.failure?.code, 'ACME_CHALLENGE_FAILED');
    assert.match(report.failure.message, /did not see the http-01 proof for elsewhere\.example\.com: ./);
    assert.ok((report.nextMs ?? 0) > Date.now() + 2 * 60_000);
    assert.equal(second.orders(), 0, 'what fails here fails there');
    assert.equal(
      await started.certificates.obtain('elsewhere.example.com', 5_000),
      undefined,
      'nobody waits for a later try',
    );
    web.honest = true;
  });

  test('a second authority is asked where the first is down, or has no account for us', async () => {
    await using down = await startPebble();
    await down.kill();
    await using bound = await startPebble({ httpPort: web.port, eab: { 'kid-1': HMAC } });
    await using started = await begin({ solvers: [web] }, { authorities: [at(down), at(bound), at(pebble)] });
    started.certificates.want([['second.example.com']]);
    await started.obtained('second.example.com');
    const [report] = started.certificates.list();
    assert.equal(report?.directory, pebble.directory);
    assert.equal(report.failure, undefined, 'what was obtained is no failure');
  });

  test('an account is bound to one that the authority knows', async () => {
    await using bound = await startPebble({ httpPort: web.port, eab: { 'kid-1': HMAC } });
    await using started = await begin(
      { solvers: [web] },
      { authorities: [{ ...at(bound), eab: { kid: 'kid-1', hmacKey: HMAC } }] },
    );
    started.certificates.want([['shop.example.com']]);
    await started.obtained('shop.example.com');
  });

  test('an authority that forgot our account gets another', async () => {
    await using forgetful = await startPebble({ httpPort: web.port });
    const store = new MemoryCertificateStore();
    {
      await using started = await begin({ solvers: [web], store }, { authorities: [at(forgetful)] });
      started.certificates.want([['one.example.com']]);
      await started.obtained('one.example.com');
    }
    await forgetful.kill();
    await forgetful.restart();
    await using started = await begin({ solvers: [web], store }, { authorities: [at(forgetful)] });
    started.certificates.want([['one.example.com'], ['two.example.com']]);
    await started.obtained('two.example.com');
  });

  test('an order that was begun goes on after a stop at any step, and is not placed twice', async () => {
    const orders = pebble.orders();
    const issued = pebble.issued();
    const kept = new MemoryCertificateStore();
    // A process that dies as it keeps the certificate: it was issued, and nothing of it is on disk.
    const dying: CertificateStore = {
      load: () => kept.load(),
      commit: (change) => (change.certificate ? new Promise(() => undefined) : kept.commit(change)),
    };
    const first = createAcmeCertificates(
      { clock: systemClock, logger: silentLogger, store: dying, solvers: [web] },
      { authorities: [at(pebble)] },
    );
    await first.start({ signal: AbortSignal.timeout(5_000) });
    first.want([['crash.example.com']]);
    while (pebble.issued() === issued) await new Promise((resolve) => setTimeout(resolve, 10));
    await using started = await begin({ solvers: [web], store: kept }, { authorities: [at(pebble)] });
    started.certificates.want([['crash.example.com']]);
    await started.obtained('crash.example.com');
    assert.equal(pebble.orders(), orders + 1);
    assert.equal(pebble.issued(), issued + 1);
    assert.deepEqual((await kept.load()).orders, []);
  });
});

const HMAC = 'zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W';
