/** Contexts and renewal: who comes after it gets the new certificate, wherever the old one was found. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { systemClock } from '@moat/core';
import { SecureContexts, type CertificatePair } from '../../src/certificates/contexts.ts';
import { openLocalAuthority, type LocalAuthority } from '../../src/certificates/local-ca.ts';

let path: string;
let authority: LocalAuthority;

before(async () => {
  path = await mkdtemp(join(tmpdir(), 'moat-contexts-'));
  authority = await openLocalAuthority({ clock: systemClock }, { directory: path, domain: 'localhost' });
});
after(() => rm(path, { recursive: true, force: true }));

function contextsOf(find: (host: string) => Promise<CertificatePair | undefined>): SecureContexts {
  return new SecureContexts({
    clock: systemClock,
    source: { certificateFor: find },
    knows: () => true,
    onMissing: () => undefined,
  });
}

test('a name of its own and a name under a wildcard are asked for anew, others are not', async () => {
  const asked: string[] = [];
  const contexts = contextsOf((host) => {
    asked.push(host);
    return authority.certificateFor(host);
  });
  for (const host of ['a.localhost', 'b.localhost', 'c.b.localhost']) await contexts.get(host);
  contexts.forget(['*.localhost']);
  for (const host of ['a.localhost', 'b.localhost', 'c.b.localhost']) await contexts.get(host);
  contexts.forget(['c.b.localhost']);
  for (const host of ['a.localhost', 'b.localhost', 'c.b.localhost']) await contexts.get(host);
  assert.deepEqual(asked.slice(3), ['a.localhost', 'b.localhost', 'c.b.localhost']);
});

test('a name without a certificate has one as soon as that is told', async () => {
  let pair: CertificatePair | undefined;
  const contexts = contextsOf(() => Promise.resolve(pair));
  assert.equal(await contexts.get('a.localhost'), undefined);
  pair = await authority.certificateFor('a.localhost');
  assert.equal(await contexts.get('a.localhost'), undefined, 'known to be missing for a minute');
  contexts.forget(['a.localhost']);
  assert.ok(await contexts.get('a.localhost'));
});

test('what is found while it is replaced is not kept', async () => {
  const old = await authority.certificateFor('a.localhost');
  const renewed = await authority.certificateFor('a.localhost');
  const answers = [Promise.withResolvers<CertificatePair | undefined>(), Promise.resolve(renewed)] as const;
  let asked = 0;
  const contexts = contextsOf(() => (asked++ === 0 ? answers[0].promise : answers[1]));
  const first = contexts.get('a.localhost');
  contexts.forget(['a.localhost']);
  answers[0].resolve(old);
  const before = await first;
  const now = await contexts.get('a.localhost');
  assert.equal(asked, 2);
  assert.notEqual(before, now);
});
