import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { isMoatError } from '@moat/core';
import { changeTrust, type TrustStoreDeps } from '../src/process/trust-store.ts';

const directory = mkdtempSync(join(tmpdir(), 'moat-trust-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
const caFile = '/state/ca.pem';
const pem = `-----BEGIN CERTIFICATE-----
MIIBdjCCAR2gAwIBAgIUVQNX0FmVJihivKTppMvtqKhsccUwCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFbG9jYWwwIBcNMjYxMTIxMTA0NzQ0WhgPMjA4MTA4MjQxMDQ3
NDRaMBAxDjAMBgNVBAMMBWxvY2FsMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
+gsOZI33hiBbCi3GPFj/l4i1fUrtpzZvxhse4daIvQL+NG6xrnH8P+bMLdTj1+NM
f/Jg/LKNDFjIK0sgnbuu06NTMFEwHQYDVR0OBBYEFEBtJulwTu5eScdlMmIuq9PM
JcgqMB8GA1UdIwQYMBaAFEBtJulwTu5eScdlMmIuq9PMJcgqMA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgYsZdHkBaH20e2v+xQTjrmmEzFDK8ST3E
NSP7qT6KkxYCICPih1YLej/Y60Xwsj4ftpiRo46LNeOMdHXWhJvW25on
-----END CERTIFICATE-----
`;
const store = join(directory, 'store');

function machine(changes: Partial<TrustStoreDeps> = {}): TrustStoreDeps & { updates: number } {
  const made = {
    updates: 0,
    directory: store,
    isRoot: true,
    exists: () => Promise.resolve(true),
    update: () => {
      made.updates += 1;
      return Promise.resolve();
    },
    ...changes,
  };
  return made;
}

test('the authority is put into the store once, and taken out again', async () => {
  const root = machine();
  const file = await changeTrust(root, pem, { caFile, remove: false });
  assert.equal(await changeTrust(root, pem, { caFile, remove: false }), file);
  assert.deepEqual(readdirSync(store), [file.slice(store.length + 1)]);
  assert.equal(readFileSync(file, 'utf8'), pem);
  await changeTrust(root, pem, { caFile, remove: true });
  await changeTrust(root, pem, { caFile, remove: true });
  assert.deepEqual(readdirSync(store), []);
  assert.equal(root.updates, 4);
});

test('who may not is told the line that does it', async () => {
  const refused = (says: RegExp) => (error: unknown) =>
    isMoatError(error, 'TRUST_UNCHANGED') && says.test(`${error.reason} ${error.next.join()}`);
  const user = machine({ isRoot: false });
  const stranger = machine({ exists: () => Promise.resolve(false) });
  await assert.rejects(
    changeTrust(user, pem, { caFile, remove: false }),
    refused(/sudo cp .*ca\.pem .*\.crt && sudo update/),
  );
  await assert.rejects(changeTrust(user, pem, { caFile, remove: true }), refused(/sudo rm /));
  await assert.rejects(changeTrust(stranger, pem, { caFile, remove: false }), refused(/no update-ca-certificates/));
  assert.equal(user.updates + stranger.updates, 0);
});
