/** What a member says of its certificates for names that are passed through to it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reportCertificates } from '../src/certificates/report.ts';

const NAME = { host: 'www.shop.example', deployment: 'd', service: 'web', gateways: [] };
const NONE = { names: [NAME], ordered: [], issuers: [], fileFor: () => undefined, nowMs: 0 };

test('a name without a certificate is said to have none', () => {
  const [certificate] = reportCertificates(NONE);
  assert.deepEqual(
    [certificate?.state, certificate?.source, certificate?.fingerprint, certificate?.caa],
    ['waiting', 'none', null, []],
  );
});

test('the record names the authority, the account and the one way to prove the name', () => {
  const issuers = [
    { identity: 'letsencrypt.org', accountUri: 'https://acme.example/acct/7' },
    { identity: 'other.example', accountUri: undefined },
  ];
  assert.deepEqual(reportCertificates({ ...NONE, issuers })[0]?.caa, [
    'www.shop.example. IN CAA 0 issue "letsencrypt.org; accounturi=https://acme.example/acct/7; validationmethods=tls-alpn-01"',
  ]);
});

test('a failure and the next try are said', () => {
  const report = {
    names: [NAME.host],
    state: 'waiting',
    directory: 'https://acme.example/dir',
    held: undefined,
    issuer: undefined,
    failure: { code: 'ACME_REFUSED', message: 'no', atMs: 0, count: 2 },
    nextMs: 60_000,
    explanation: undefined,
  } as const;
  const [certificate] = reportCertificates({ ...NONE, ordered: [report] });
  assert.equal(certificate?.next, '1970-01-01T00:01:00.000Z');
  assert.deepEqual(certificate?.failure, {
    code: 'ACME_REFUSED',
    message: 'no',
    count: 2,
    at: '1970-01-01T00:00:00.000Z',
  });
});
