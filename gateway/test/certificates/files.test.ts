/** Certificates from files: taken over when they change, and never worse than they were. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { openFileCertificates, type CertificateFiles } from '../../src/certificates/files.ts';
import { openLocalAuthority } from '../../src/certificates/local-ca.ts';

const DAY_MS = 24 * 3_600_000;
const LOOK_MS = 2_000;

async function pairs(): Promise<AsyncDisposable & { write(name: string, host: string): Promise<CertificateFiles> }> {
  const path = await mkdtemp(join(tmpdir(), 'moat-files-'));
  return {
    async write(name, host) {
      const authority = await openLocalAuthority({ clock }, { directory: join(path, name), domain: 'localhost' });
      const pair = await authority.certificateFor(host);
      const files = { certificate: join(path, `${name}.pem`), key: join(path, `${name}.key`) };
      await writeFile(files.certificate, pair?.certificate ?? '');
      await writeFile(files.key, pair?.key ?? '');
      return files;
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

const clock = createManualClock(Date.now());

async function eventually(condition: () => Promise<boolean> | boolean): Promise<void> {
  for (const until = Date.now() + 5_000; Date.now() < until;) {
    if (await condition()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.fail('not in time');
}

test('the longest valid pair that covers the name; another is taken over, a broken one is said', async () => {
  await using written = await pairs();
  const a = await written.write('a', 'a.localhost');
  const b = await written.write('b', 'b.localhost');
  const changed: string[] = [];
  const deps = { clock, logger: silentLogger, changed: (names: readonly string[]) => void changed.push(...names) };
  await using source = await openFileCertificates(deps, [a, b]);
  await source.start({ signal: AbortSignal.timeout(5_000) });
  const first = await source.certificateFor('a.localhost');
  assert.equal(first?.certificate, await readFile(a.certificate, 'utf8'));
  assert.equal(await source.certificateFor('c.localhost'), undefined);

  clock.advance(DAY_MS);
  const c = await written.write('c', 'a.localhost');
  await writeFile(a.key, await readFile(c.key));
  // Half written: what was good stays, and the operator hears why.
  await eventually(() => {
    clock.advance(LOOK_MS);
    return source.list()[0]?.failure?.message.includes('the key is not the key of the certificate') === true;
  });
  assert.deepEqual((await source.certificateFor('a.localhost'))?.key, first.key);
  assert.equal(source.list()[0]?.state, 'valid');
  assert.equal(changed.length, 0);

  await writeFile(a.certificate, await readFile(c.certificate));
  await eventually(async () => {
    clock.advance(LOOK_MS);
    return (await source.certificateFor('a.localhost'))?.key === (await readFile(c.key, 'utf8'));
  });
  assert.equal(source.list()[0]?.failure, null);
  assert.ok(changed.includes('a.localhost'), 'contexts are made anew');
});

test('what cannot be used fails the start', async () => {
  await using written = await pairs();
  const a = await written.write('a', 'a.localhost');
  const b = await written.write('b', 'b.localhost');
  const deps = { clock, logger: silentLogger, changed: () => undefined };
  for (const wrong of [
    { certificate: a.certificate, key: b.key },
    { certificate: '/none', key: b.key },
  ]) {
    await assert.rejects(openFileCertificates(deps, [wrong]), { code: 'CERTIFICATE_INVALID' });
  }
});
