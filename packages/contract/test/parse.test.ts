import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  bundleFor,
  canonicalBytes,
  canonicalize,
  checkProposal,
  createGatewayPeers,
  createOwnerProof,
  createReceipt,
  headHash,
  mergeProposals,
  parseProposal,
  parseSignedGatewayPeers,
  parseSignedOwnerProof,
  parseSignedReceipt,
  proposalOf,
  proposalStanding,
  signGatewayPeers,
  isTime,
  formatTime,
  parseClaimDetails,
  parseContract,
  parseGenesis,
  parseHeadProof,
  parseMemberClaim,
  parsePublicationBundle,
  parseSignedClaim,
  parseSignedHead,
  parseTime,
  parseWitnessedClaim,
  verifyBundle,
  verifyProof,
  type Proposal,
} from '@moat/contract';
import { mergedVersion } from './branches.fixture.ts';
import { completeProposal } from './completed.fixture.ts';
import {
  NOW,
  ana,
  ben,
  contract,
  deployment,
  firstVersion,
  gateway,
  genesis,
  laptopClaim,
  nextVersion,
  ownedBy,
  stranger,
  web1,
} from './deployment.fixture.ts';

const v0 = firstVersion();
const v1 = nextVersion(v0, { owners: ownedBy(1, { ana, dora: stranger }) }, [ana, ben]);
const claim = laptopClaim();
const { details, ...witnessed } = claim;
const { witness: _w, keeper: _k, keeperSignature: _s, ...signedClaim } = witnessed;
const bundle = bundleFor(v0.proof, v0.contract, [claim], gateway.peer);

const left = nextVersion(v0, { name: 'left' });
const healed = mergedVersion(left, v1, [ana, ben]);
const proposal = proposalOf({ ...left }, { ...healed.contract }, { ends: v1.proof });
const time = formatTime(NOW);
const head = headHash(v0.head);
const peers = { domain: 'apps.example.com', number: 1, peers: [web1.peer], before: [gateway.peer] };

/** Each parser with an object it takes. */
const PARSERS: readonly (readonly [(input: unknown) => unknown, unknown])[] = [
  [parseContract, contract],
  [parseGenesis, genesis],
  [parseHeadProof, v1.proof],
  [parseSignedHead, v0.signed],
  [parsePublicationBundle, bundle],
  [parseMemberClaim, claim],
  [parseWitnessedClaim, witnessed],
  [parseSignedClaim, signedClaim],
  [parseClaimDetails, details],
  [parseHeadProof, healed.proof],
  [parseProposal, proposal],
  [parseSignedOwnerProof, createOwnerProof({ deployment, dialer: ana.peer, keeper: web1.peer, time }, ana.signer)],
  [
    parseSignedReceipt,
    createReceipt({ deployment, version: 1, head, result: 'failed', code: 'STALE', time }, web1.signer),
  ],
  [parseSignedGatewayPeers, signGatewayPeers(createGatewayPeers(peers), gateway.signer)],
];

const CODED = /^CONTRACT_(?:INVALID|TOO_NEW)$/;

/** Runs to a value or a code of ours; anything else fails the test. */
function outcome(run: () => unknown): string {
  try {
    run();
    return 'ok';
  } catch (error) {
    assert.ok(error instanceof Error && 'code' in error && 'kind' in error, String(error));
    return String(error.code);
  }
}

test('objects are read from values, text and bytes alike', () => {
  for (const [parse, value] of PARSERS) {
    assert.deepEqual(parse(value), value);
    assert.deepEqual(parse(JSON.stringify(value, null, 2)), value);
    assert.deepEqual(parse(canonicalBytes(value)), value);
    assert.equal(canonicalize(parse(canonicalBytes(value))), canonicalize(value));
  }
});

test('an unknown field or a newer type is too new, at any depth', () => {
  for (const [parse, value] of PARSERS) {
    assert.throws(() => parse({ ...(value as object), colour: 'blue' }), { code: 'CONTRACT_TOO_NEW' });
  }
  const tooNew: readonly unknown[] = [
    { ...contract, type: 'moat/contract/2' },
    { ...contract, network: { ...contract.network, mtu: 1280 } },
    { ...contract, members: [{ ...contract.members[0], motd: 'x' }] },
    `{"__proto__":1,${canonicalize(contract).slice(1)}`,
  ];
  for (const value of tooNew) assert.throws(() => parseContract(value), { code: 'CONTRACT_TOO_NEW' });
  const [publication] = bundle.publications;
  const odd = { ...publication, members: [{ node: web1.peer, weight: 2 }] };
  assert.throws(() => parsePublicationBundle({ ...bundle, publications: [odd] }), { code: 'CONTRACT_TOO_NEW' });
  assert.throws(() => parseHeadProof({ ...v0.proof, genesis: { ...genesis, type: 'moat/genesis/2' } }), {
    code: 'CONTRACT_TOO_NEW',
  });
  assert.throws(() => parseContract({ ...contract, type: 'moat/head/2' }), { code: 'CONTRACT_INVALID' });
  // What is wrong besides is told first: an update would not help.
  assert.throws(() => parseContract({ ...contract, colour: 'blue', name: 7 }), { code: 'CONTRACT_INVALID' });
});

test('every field of a contract is checked', () => {
  const [member] = contract.members;
  const [service] = contract.services;
  const [line] = contract.publish;
  assert.ok(member && service && line);
  const bad: readonly (readonly [string, unknown])[] = [
    ['deployment', { ...contract, deployment: 'shop' }],
    ['name', { ...contract, name: 'Shop' }],
    ['name', { ...contract, name: 'a'.repeat(64) }],
    ['version', { ...contract, version: -1 }],
    ['version', { ...contract, version: 1.5 }],
    ['version', { ...contract, version: 2 ** 53 }],
    ['owners.threshold', { ...contract, owners: { ...contract.owners, threshold: 0 } }],
    ['owners.keys', { ...contract, owners: { threshold: 1, keys: [] } }],
    [
      'owners.keys[0].weight',
      { ...contract, owners: { threshold: 1, keys: [{ ...contract.owners.keys[0], weight: 0 }] } },
    ],
    ['anchors[0]', { ...contract, anchors: ['/ip4/192.0.2.1/tcp/1'] }],
    ['anchors[0]', { ...contract, anchors: [`/ip4/192.0.2.1/tcp/1/p2p/${web1.peer}/p2p-circuit/p2p/${gateway.peer}`] }],
    ['network.plane', { ...contract, network: { ...contract.network, plane: 'ipx' } }],
    ['network.maxStale', { ...contract, network: { ...contract.network, maxStale: 1000 } }],
    ['members', { ...contract, members: [] }],
    [
      'members[0].node',
      { ...contract, members: [{ ...member, node: 'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG' }] },
    ],
    ['members[0].wireguard', { ...contract, members: [{ ...member, wireguard: 'AAAA' }] }],
    ['members[0].ipv4', { ...contract, members: [{ ...member, ipv4: '10.77.0.02' }] }],
    ['members[0].tags', { ...contract, members: [{ ...member, tags: ['web', 'web'] }] }],
    ['members[0].tags[0]', { ...contract, members: [{ ...member, tags: ['Web'] }] }],
    ['members[0].keeper', { ...contract, members: [{ ...member, keeper: false }] }],
    ['members[0].expires', { ...contract, members: [{ ...member, expires: '2026-02-30T00:00:00Z' }] }],
    ['members[0].node', { ...contract, members: [{ ...member, node: undefined }] }],
    ['services[0].on', { ...contract, services: [{ ...service, on: [] }] }],
    ['services[0].on[0]', { ...contract, services: [{ ...service, on: ['tag:'] }] }],
    ['services[0].port', { ...contract, services: [{ ...service, port: 0 }] }],
    ['services[0].port', { ...contract, services: [{ ...service, port: 65_536 }] }],
    ['services[0].target', { ...contract, services: [{ ...service, target: '3000' }] }],
    ['services[0].protocol', { ...contract, services: [{ ...service, protocol: 'sctp' }] }],
    ['services[0].health', { ...contract, services: [{ ...service, health: 'healthz' }] }],
    ['access[0].to[0]', { ...contract, access: [{ from: ['web-1'], to: ['tag:web'] }] }],
    ['publish[0].name', { ...contract, publish: [{ ...line, name: 'Shop' }] }],
    ['publish[0].salt', { ...contract, publish: [{ ...line, salt: 'AAAA' }] }],
    ['publish[0].gateway.peers', { ...contract, publish: [{ ...line, gateway: { ...line.gateway, peers: [] } }] }],
    ['publish[0].gateway.box', { ...contract, publish: [{ ...line, gateway: { ...line.gateway, box: ana.key } }] }],
    ['state', { ...contract, state: 'paused' }],
  ];
  for (const [path, value] of bad) {
    assert.throws(
      () => parseContract(value),
      (error: { code: string; details: { path: string } }) => {
        assert.equal(error.code, 'CONTRACT_INVALID');
        assert.equal(error.details.path, path);
        return true;
      },
      path,
    );
  }
});

test('sizes are bounded', () => {
  const big = 'x'.repeat(1_048_577);
  assert.throws(() => parseContract(big), { code: 'CONTRACT_INVALID' });
  assert.throws(() => parseContract(Buffer.from(big)), { code: 'CONTRACT_INVALID' });
  const many = (count: number, value: unknown): unknown[] => Array.from({ length: count }, () => value);
  assert.throws(() => parseContract({ ...contract, members: many(2049, contract.members[0]) }), {
    code: 'CONTRACT_INVALID',
  });
  assert.throws(() => parseSignedHead({ ...v0.signed, signatures: many(65, v0.signed.signatures[0]) }), {
    code: 'CONTRACT_INVALID',
  });
  // Within every count and still too large as a whole.
  const on = Array.from({ length: 256 }, (_, i) => `${i}-`.padEnd(63, 'a'));
  const services = many(512, { ...contract.services[0], on });
  assert.throws(() => parseContract({ ...contract, services }), { code: 'CONTRACT_INVALID' });
});

test('no JSON, no UTF-8, no end to its nesting: a code', () => {
  const deep = '['.repeat(500_000);
  for (const [parse] of PARSERS) {
    for (const bad of ['', '{', 'null', '[]', '"x"', deep, deep + ']'.repeat(500_000), Uint8Array.of(0xff, 0xfe)]) {
      assert.throws(() => parse(bad), { code: 'CONTRACT_INVALID' });
    }
  }
});

test('random values and bytes end in a code', () => {
  fc.assert(
    fc.property(fc.oneof(fc.anything(), fc.jsonValue(), fc.json(), fc.uint8Array()), (input) => {
      for (const [parse] of PARSERS)
        assert.match(
          outcome(() => parse(input)),
          CODED,
        );
    }),
    { numRuns: 300 },
  );
});

/** All that is done with a proposal that somebody brought. */
function judge(shown: Proposal): void {
  proposalStanding(shown, left);
  mergeProposals(proposal, shown, left);
  checkProposal(left, genesis, shown);
  completeProposal(left, genesis, shown);
}

/** Replaces, removes or adds one value somewhere inside. */
function mutate(value: unknown, path: readonly number[], change: unknown): unknown {
  const [step = 0, ...rest] = path;
  if (path.length === 0 || typeof value !== 'object' || value === null) return change;
  if (Array.isArray(value)) {
    const i = step % (value.length + 1);
    return [...value.slice(0, i), mutate(value[i], rest, change), ...value.slice(i + 1)];
  }
  const keys = Object.keys(value);
  const key = step % 9 === 8 ? 'colour' : (keys[step % keys.length] ?? 'colour');
  const copy = { ...value } as Record<string, unknown>;
  if (step % 7 === 6) delete copy[key];
  else copy[key] = mutate(copy[key], rest, change);
  return copy;
}

test('objects that are almost right end in a value that round-trips, or in a code', () => {
  const leaf = fc.oneof(
    fc.jsonValue(),
    fc.constantFrom(web1.peer, ana.key, genesis.nonce, v0.signed.signatures[0]?.signature, 'web-1', 'tag:web'),
    fc.integer({ min: -1, max: 70_000 }),
  );
  fc.assert(
    fc.property(
      fc.nat({ max: PARSERS.length - 1 }),
      fc.array(fc.nat({ max: 62 }), { maxLength: 6 }),
      leaf,
      (i, path, change) => {
        const [parse, value] = PARSERS[i] ?? [parseContract, contract];
        const mutant = mutate(value, path, change);
        try {
          const parsed = parse(mutant);
          assert.deepEqual(parsed, mutant);
          assert.equal(canonicalize(parse(canonicalize(parsed))), canonicalize(parsed));
          // Whatever parses may be handed on: verifying it ends in a code too.
          if (parse === parseHeadProof) outcome(() => verifyProof(parseHeadProof(mutant)));
          if (parse === parseProposal) outcome(() => judge(parseProposal(mutant)));
          if (parse === parsePublicationBundle) {
            const rules = { gateway: gateway.peer, presenter: web1.peer, pinned: v0.proof, now: NOW };
            outcome(() => verifyBundle(parsePublicationBundle(mutant), rules));
          }
        } catch (error) {
          assert.match(String((error as { code?: unknown }).code), CODED);
        }
      },
    ),
    { numRuns: 2000 },
  );
});

test('a time is an instant that exists, in UTC', () => {
  assert.equal(parseTime('2026-11-20T10:00:00Z'), NOW);
  assert.equal(parseTime('2026-11-20T10:00:00.250Z'), NOW + 250);
  assert.equal(formatTime(NOW + 999), '2026-11-20T10:00:00Z');
  for (const bad of [
    '2026-11-20',
    '2026-11-20T10:00:00',
    '2026-11-20T10:00:00+01:00',
    '2026-02-29T00:00:00Z',
    '2026-13-01T00:00:00Z',
    '2026-11-20T24:00:00Z',
    '2026-11-20T10:00:60Z',
    '2026-11-20t10:00:00z',
    '',
  ]) {
    assert.equal(isTime(bad), false, bad);
  }
  assert.equal(isTime('2028-02-29T00:00:00Z'), true);
});

test('an object in the place of a text or a list, with a length that is an object, is refused by its code', () => {
  const strange = { length: { toString: 1, valueOf: 2 } };
  const claim = { claim: strange, nodeSignature: strange, inviteSignature: strange, details: strange };
  for (const parse of [parseContract, parseMemberClaim, parseHeadProof, parsePublicationBundle]) {
    for (const input of [strange, claim, { ...claim, members: strange, successions: strange, publications: strange }]) {
      assert.throws(() => parse(input), { code: /^CONTRACT_(INVALID|TOO_NEW)$/ });
    }
  }
});
