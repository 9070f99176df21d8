import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect, createServer } from 'node:tls';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { systemClock } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { SecureContexts, type CertificatePair } from '../../src/certificates/contexts.ts';
import { openLocalAuthority } from '../../src/certificates/local-ca.ts';

const DAY = 24 * 3_600_000;

async function directory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'moat-ca-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

/** What a client that trusts only `ca` makes of a server with this pair. */
async function handshake(pair: CertificatePair, ca: string, servername: string): Promise<string> {
  const server = createServer({ cert: pair.certificate, key: pair.key });
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const socket = connect({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, servername, ca });
  const outcome = await new Promise<string>((resolve) => {
    socket.once('secureConnect', () => resolve('trusted'));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(`${error.code} ${error.message}`));
  });
  socket.destroy();
  server.close();
  return outcome;
}

test('an authority is made once, kept private, and trusted for its domain only', async () => {
  await using temporary = await directory();
  const options = { directory: temporary.path, domain: 'localhost' };
  const authority = await openLocalAuthority({ clock: systemClock }, options);
  const again = await openLocalAuthority({ clock: systemClock }, options);
  assert.equal(again.certificate, authority.certificate);
  assert.equal((await stat(join(temporary.path, 'ca.key'))).mode & 0o077, 0);
  assert.equal(await readFile(authority.certificatePath, 'utf8'), authority.certificate);
  for (const host of ['localhost', 'shop.localhost']) {
    const pair = await again.certificateFor(host);
    assert.ok(pair);
    assert.equal(await handshake(pair, authority.certificate, host), 'trusted');
    assert.match(await handshake(pair, authority.certificate, 'other.localhost'), /ERR_TLS_CERT_ALTNAME_INVALID/);
    assert.equal(new X509Certificate(pair.certificate).publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  }
  // Constrained: even its own signature makes no certificate for a bank.
  const bank = await again.certificateFor('bank.example');
  assert.ok(bank);
  assert.match(await handshake(bank, authority.certificate, 'bank.example'), /permitted subtree violation/);
});

test('leaves are renewed in time, an old authority too', async () => {
  await using temporary = await directory();
  const clock = createManualClock(Date.now());
  const options = { directory: temporary.path, domain: 'localhost' };
  const authority = await openLocalAuthority({ clock }, options);
  const pair = await authority.certificateFor('a.localhost');
  assert.ok(pair);
  const leaf = new X509Certificate(pair.certificate);
  assert.ok(pair.renewAtMs > clock.now() + DAY && pair.renewAtMs < leaf.validToDate.getTime() - DAY);
  clock.advance(3_600 * DAY);
  const renewed = await openLocalAuthority({ clock }, options);
  assert.notEqual(renewed.certificate, authority.certificate);
  const moved = await openLocalAuthority({ clock }, { ...options, domain: 'example.test' });
  assert.notEqual(moved.certificate, renewed.certificate);
});

test('an unreadable authority fails the start instead of being replaced', async () => {
  await using temporary = await directory();
  const options = { directory: temporary.path, domain: 'localhost' };
  await openLocalAuthority({ clock: systemClock }, options);
  await writeFile(join(temporary.path, 'ca.key'), 'garbage');
  await assert.rejects(openLocalAuthority({ clock: systemClock }, options), { code: 'CERTIFICATE_INVALID' });
});

test('contexts are made once a name, only for known names, and dropped by use', async () => {
  await using temporary = await directory();
  const clock = createManualClock(Date.now());
  const authority = await openLocalAuthority({ clock }, { directory: temporary.path, domain: 'localhost' });
  const made: string[] = [];
  const missing: string[] = [];
  const known = new Set(['a.localhost', 'b.localhost', 'c.localhost']);
  const contexts = new SecureContexts(
    {
      clock,
      knows: (host) => known.has(host),
      onMissing: (host) => void missing.push(host),
      source: {
        certificateFor: (host) => {
          made.push(host);
          return host === 'x.localhost' ? Promise.resolve(undefined) : authority.certificateFor(host);
        },
      },
    },
    { capacity: 2, nameCapacity: 2 },
  );
  assert.equal(await contexts.get('evil.localhost'), undefined);
  const [first, second] = await Promise.all([contexts.get('a.localhost'), contexts.get('a.localhost')]);
  assert.ok(first);
  assert.equal(first, second);
  await contexts.get('b.localhost');
  await contexts.get('a.localhost');
  await contexts.get('c.localhost');
  await contexts.get('a.localhost');
  assert.deepEqual(made, ['a.localhost', 'b.localhost', 'c.localhost']);
  await contexts.get('b.localhost');
  assert.equal(made.length, 4);
  clock.advance(6 * DAY);
  await contexts.get('b.localhost');
  assert.equal(made.length, 5);
  known.add('x.localhost');
  for (let i = 0; i < 5; i++) assert.equal(await contexts.get('x.localhost'), undefined);
  assert.deepEqual(missing, ['x.localhost']);
  known.delete('b.localhost');
  assert.equal(await contexts.get('b.localhost'), undefined);
});

test('names under one certificate share a context, and no more are kept than fit', async () => {
  await using temporary = await directory();
  const clock = createManualClock(Date.now());
  const authority = await openLocalAuthority({ clock }, { directory: temporary.path, domain: 'localhost' });
  const wildcard = await authority.certificateFor('*.localhost');
  const asked: string[] = [];
  const contexts = new SecureContexts(
    {
      clock,
      knows: () => true,
      onMissing: () => undefined,
      source: {
        certificateFor: (host) => {
          asked.push(host);
          return host.startsWith('own-') ? authority.certificateFor(host) : Promise.resolve(wildcard);
        },
      },
    },
    { capacity: 2, nameCapacity: 3 },
  );
  const shared = await contexts.get('a.localhost');
  assert.ok(shared);
  assert.equal(await contexts.get('b.localhost'), shared);
  const own = await contexts.get('own-1.localhost');
  assert.notEqual(own, shared);
  assert.equal(await contexts.get('a.localhost'), shared);
  await contexts.get('own-2.localhost');
  assert.deepEqual(asked, ['a.localhost', 'b.localhost', 'own-1.localhost', 'own-2.localhost']);
  assert.equal(await contexts.get('a.localhost'), shared, 'used later than the one that went');
  assert.notEqual(await contexts.get('own-1.localhost'), own, 'its context went, what is known of its name did not');
  assert.equal(asked.length, 4);
  await contexts.get('b.localhost');
  assert.equal(asked.length, 5, 'its name went');
});
