import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GatewayCertificate } from '@moat/admin-api';
import { certificateWarnings } from '../../src/certificates/warnings.ts';

const now = Date.UTC(2026, 5, 1);
const DAY_MS = 24 * 3_600_000;
const failure = { code: 'ACME_UNREACHABLE', message: 'no', at: new Date(now).toISOString(), count: 1 };

function certificate(name: string, changes: Partial<GatewayCertificate>): GatewayCertificate {
  return {
    names: [name],
    source: 'acme',
    state: 'valid',
    issuer: null,
    notBefore: null,
    notAfter: new Date(now + 30 * DAY_MS).toISOString(),
    origin: '',
    next: null,
    failure: null,
    explanation: null,
    ...changes,
  };
}

test('what is over, missing for a reason, or about to end is said once a kind', () => {
  const soon = new Date(now + 2 * DAY_MS).toISOString();
  const all = [
    certificate('fine', {}),
    certificate('fails early', { failure }),
    certificate('fails late', { failure, notAfter: soon }),
    certificate('short', { notAfter: soon }),
    certificate('ordered', { state: 'ordering', notAfter: null }),
    ...[1, 2, 3, 4, 5].map((index) => certificate(`none-${index}`, { state: 'waiting', failure, notAfter: null })),
    certificate('old', { state: 'expired', failure }),
  ];
  assert.deepEqual(
    certificateWarnings(all, now).map(({ message }) => message),
    [
      'certificates over: old; moat certs show old',
      'certificates not there yet: none-1, none-2, none-3 and 2 more; moat certs show none-1',
      'certificates soon over: fails late; moat certs show fails late',
    ],
  );
  assert.deepEqual(certificateWarnings([certificate('fine', {})], now), []);
});
