/** What a member is told of certificates: of its own names alone, and nothing of the operator's files. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GatewayCertificate } from '@moat/admin-api';
import { CertificateStates } from '../../src/publications/certificate-states.ts';
import { Desk } from '../desk.ts';
import { Shop } from '../shop.ts';

const NONE = { issuer: null, notBefore: null, notAfter: null, next: null, failure: null, explanation: null };
const FAILURE = {
  code: 'ACME_REFUSED',
  message: 'the authority does not want to',
  at: '2026-11-20T10:00:00Z',
  count: 2,
};

test('each name of a deployment has its own, or the wildcard; who does not serve it is told nothing', async () => {
  const desk = new Desk();
  const [shop, other] = [
    new Shop('one', { publish: ['shop', 'bare', 'through'] }),
    new Shop('two', { publish: ['blog'] }),
  ];
  const version = shop.next(shop.first, {
    publish: [shop.line('shop'), shop.line('bare'), shop.line('through', { tls: 'passthrough' })],
  });
  assert.ok((await desk.show(shop.web1, shop.bundle(version))).ok);
  assert.ok((await desk.show(other.web1, other.bundle(other.first))).ok);
  const held: GatewayCertificate[] = [
    {
      ...NONE,
      names: ['shop.localhost'],
      source: 'acme',
      state: 'expired',
      origin: 'a',
      notAfter: '2026-01-01T00:00:00Z',
    },
    {
      ...NONE,
      names: ['shop.localhost'],
      source: 'acme',
      state: 'valid',
      origin: 'a',
      notAfter: '2027-01-01T00:00:00Z',
    },
    { ...NONE, names: ['bare.localhost'], source: 'acme', state: 'waiting', origin: 'a', failure: FAILURE },
  ];
  const { clock, ledger, routes } = desk;
  const told = (peer: string, deployment: string, certificates: readonly GatewayCertificate[]): unknown =>
    new CertificateStates({ clock, ledger, routes, certificates: () => certificates }).of(peer, deployment);
  const none = { issuer: null, next: null, problem: null };
  assert.deepEqual(told(shop.web1.peer, shop.deployment, held), [
    { ...none, host: 'shop.localhost', state: 'valid', notAfter: '2027-01-01T00:00:00Z' },
    {
      ...none,
      host: 'bare.localhost',
      state: 'waiting',
      notAfter: null,
      problem: { code: FAILURE.code, message: FAILURE.message },
    },
  ]);
  assert.deepEqual(told(other.web1.peer, shop.deployment, held), [], 'it is none of theirs');
  assert.deepEqual(told(other.web1.peer, other.deployment, held), [
    { ...none, host: 'blog.localhost', state: 'waiting', notAfter: null },
  ]);
  const files: GatewayCertificate = {
    ...NONE,
    names: ['*.localhost'],
    source: 'files',
    state: 'valid',
    origin: '/etc/secret/place.pem',
    failure: { ...FAILURE, message: 'cannot read /etc/secret/place.pem' },
  };
  const [first] = told(shop.web1.peer, shop.deployment, [files]) as object[];
  assert.deepEqual(first, { ...none, host: 'shop.localhost', state: 'valid', notAfter: null });
});
