import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { PeerId } from '@moat/core';
import type { Contract } from '@moat/contract';
import { admit } from '../src/admission.ts';
import type { ExposedTargets } from '../src/exposed.ts';
import { DEPLOYMENT, PEERS, contract, viewOf } from './shop.ts';

const NOW = Date.parse('2026-11-20T10:00:00Z');

interface Case {
  readonly self?: string;
  readonly peer: PeerId;
  readonly service: string;
  readonly kind?: 'tcp' | 'http';
  readonly deployment?: string;
  readonly contract?: Partial<Contract>;
  readonly exposed?: 'all' | 'private' | 'none';
  readonly now?: number;
  readonly expected: string;
}

function consent(exposed: 'all' | 'private' | 'none'): ExposedTargets {
  return {
    isExposed: (_, __, isPublic) => exposed === 'all' || (exposed === 'private' && !isPublic),
    isOwnSocket: () => false,
  };
}

const PASSTHROUGH = contract().publish.map((line) => ({ ...line, tls: 'passthrough' as const }));

const CASES: Record<string, Case> = {
  'a member with a grant': { self: 'db-1', peer: PEERS.web1, service: 'db', expected: 'admitted' },
  'a member with a grant, exposed without --public': {
    self: 'db-1',
    peer: PEERS.web1,
    service: 'db',
    exposed: 'private',
    expected: 'admitted',
  },
  'a member with a grant as http': { peer: PEERS.db1, service: 'web', kind: 'http', expected: 'admitted' },
  'a member with a grant as bytes to an http service': {
    peer: PEERS.db1,
    service: 'web',
    kind: 'tcp',
    expected: 'admitted',
  },
  'a member without a grant': { peer: PEERS.db2, service: 'web', expected: 'GRANT_DENIED' },
  'a member and a service of another member': { peer: PEERS.web2, service: 'db', expected: 'SERVICE_UNKNOWN' },
  'a member and a service that does not exist': { peer: PEERS.web2, service: 'mail', expected: 'SERVICE_UNKNOWN' },
  'http to a tcp service': { self: 'db-1', peer: PEERS.web1, service: 'db', kind: 'http', expected: 'KIND_MISMATCH' },
  'bytes to a service of datagrams': {
    self: 'db-1',
    peer: PEERS.web1,
    service: 'db',
    contract: { services: contract().services.map((each) => ({ ...each, protocol: 'udp' as const })), publish: [] },
    expected: 'KIND_MISMATCH',
  },
  'what the operator did not expose': {
    self: 'db-1',
    peer: PEERS.web1,
    service: 'db',
    exposed: 'none',
    expected: 'NOT_EXPOSED',
  },
  'a stranger': { peer: PEERS.stranger, service: 'web', expected: 'GRANT_DENIED' },
  'a stranger learns no services': { peer: PEERS.stranger, service: 'mail', expected: 'GRANT_DENIED' },
  'a gateway and what is published at it': { peer: PEERS.gateway, service: 'web', kind: 'http', expected: 'admitted' },
  'a gateway and bytes where heads were published': {
    peer: PEERS.gateway,
    service: 'web',
    kind: 'tcp',
    expected: 'KIND_MISMATCH',
  },
  'a gateway that passes TLS through': {
    peer: PEERS.gateway,
    service: 'web',
    kind: 'tcp',
    contract: { publish: PASSTHROUGH },
    expected: 'admitted',
  },
  'a gateway that would read what it should pass through': {
    peer: PEERS.gateway,
    service: 'web',
    kind: 'http',
    contract: { publish: PASSTHROUGH },
    expected: 'KIND_MISMATCH',
  },
  'a gateway without --public': {
    peer: PEERS.gateway,
    service: 'web',
    kind: 'http',
    exposed: 'private',
    expected: 'NOT_PUBLIC',
  },
  'a gateway and an unpublished service': {
    self: 'db-1',
    peer: PEERS.gateway,
    service: 'db',
    expected: 'NOT_PUBLISHED',
  },
  'a gateway after the publication was withdrawn': {
    peer: PEERS.gateway,
    service: 'web',
    kind: 'http',
    contract: { publish: [] },
    expected: 'GRANT_DENIED',
  },
  'a published service that is not ours': {
    self: 'db-1',
    peer: PEERS.gateway,
    service: 'web',
    kind: 'http',
    expected: 'SERVICE_UNKNOWN',
  },
  'another deployment': { peer: PEERS.db1, service: 'web', deployment: 'z'.repeat(26), expected: 'GRANT_DENIED' },
  'an ended deployment': {
    peer: PEERS.db1,
    service: 'web',
    contract: { state: 'ended' },
    expected: 'DEPLOYMENT_ENDED',
  },
  'an expired grant': {
    peer: PEERS.db1,
    service: 'web',
    contract: { access: [{ from: ['db-1'], to: ['web'], expires: '2026-11-20T09:00:00Z' }] },
    expected: 'GRANT_EXPIRED',
  },
  'a grant that expired after the view was made': {
    peer: PEERS.db1,
    service: 'web',
    contract: { access: [{ from: ['db-1'], to: ['web'], expires: '2026-11-20T10:00:01Z' }] },
    now: NOW + 2_000,
    expected: 'GRANT_EXPIRED',
  },
  'a member whose place ended': {
    peer: PEERS.db1,
    service: 'web',
    contract: {
      members: contract().members.map((each) =>
        each.name === 'db-1' ? { ...each, expires: '2026-11-20T10:00:01Z' } : each,
      ),
    },
    now: NOW + 2_000,
    expected: 'MEMBER_EXPIRED',
  },
  'a machine whose own place is gone': {
    peer: PEERS.db1,
    service: 'web',
    contract: { members: contract().members.filter(({ name }) => name !== 'web-1') },
    expected: 'MEMBER_UNKNOWN',
  },
};

suite('admission', () => {
  for (const [name, each] of Object.entries(CASES)) {
    test(`${name}: ${each.expected}`, () => {
      const view = viewOf(each.contract, NOW);
      const request = { deployment: each.deployment ?? DEPLOYMENT, service: each.service, kind: each.kind ?? 'tcp' };
      const rules = { view, self: each.self ?? 'web-1', exposed: consent(each.exposed ?? 'all') };
      const admission = admit(rules, { peer: each.peer, request }, each.now ?? NOW);
      assert.equal(admission.admitted ? 'admitted' : admission.code, each.expected);
    });
  }
});
