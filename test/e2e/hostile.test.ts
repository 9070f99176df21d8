/** What a hostile owner, joiner, publisher or gateway gets: a code, and nothing else. Ours runs; theirs is made of the same parts. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { after, before, suite, test } from 'node:test';
import {
  createClaim,
  createInvite,
  headHash,
  headOf,
  parseContract,
  parseHeadProof,
  parseToken,
  signHead,
  type Contract,
  type HeadProof,
  type PublicationBundle,
} from '@moat/contract';
import { silentLogger, systemClock, toBase64url, type Link, type StreamKind } from '@moat/core';
import { createNodeKey, createOwnerKey, openOwnerKey, readPrivateFile } from '@moat/identity';
import { createLinks, type LinkService } from '@moat/link';
import { createMemoryAddressBook, createOverlay, noDeployments, type Overlay } from '@moat/overlay';
import { freePort } from '@moat/testkit';
import { eventually } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const world = new World();
const evilKey = createNodeKey();
let evil: Overlay;
let evilLinks: LinkService;
let links: Link[] = [];
let bundles: PublicationBundle[] = [];
let web: WebService;

before(async () => {
  web = await startWebService();
  await world.startGateway();
  const [overlayPort, linkPort] = [await freePort(), await freePort()];
  evil = createOverlay(
    {
      logger: silentLogger,
      clock: systemClock,
      key: evilKey,
      deployments: noDeployments,
      addressBook: createMemoryAddressBook(),
    },
    { listen: [`/ip4/127.0.0.1/tcp/${overlayPort}`], mdns: false },
  );
  evilLinks = createLinks(
    { logger: silentLogger, clock: systemClock, control: evil, accept: (stream) => stream.reset('GRANT_DENIED') },
    { role: 'gateway', mayLink: () => true, listen: { host: '127.0.0.1', port: linkPort } },
  );
  await evil.start({ signal: AbortSignal.timeout(10_000) });
  await evilLinks.start({ signal: AbortSignal.timeout(10_000) });
  evilLinks.onLink((link) => links.push(link));
  evil.servePublish(async (_peer, _connection, bundle) => {
    bundles.push(bundle);
    return { ok: true, names: [{ name: 'evil', host: 'evil.localhost', url: 'https://evil.localhost' }], refused: [] };
  });
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true }, 'web-1': { expose: [`${web.port},public`] } },
    services: {
      web: { on: ['web-1'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' },
      secret: { on: ['web-1'], port: 81, target: `127.0.0.1:${web.port}`, protocol: 'http' },
    },
    publish: { shop: 'web' },
    extraPublish: {
      evil: {
        service: 'web',
        gateway: { domain: 'evil.localhost', peers: [`/ip4/127.0.0.1/tcp/${overlayPort}/p2p/${evilKey.peerId}`] },
      },
    },
  });
  await eventually(
    'the real gateway serves',
    async () => (await world.gateway.browser.fetch('shop.localhost')).status === 200,
  );
});

after(async () => {
  await evilLinks.stop();
  await evil.stop();
  await world[Symbol.asyncDispose]();
  await web[Symbol.asyncDispose]();
});

async function current(): Promise<{ contract: Contract; proof: HeadProof }> {
  const detail = await world.client('owner').deployment('shop');
  return { contract: parseContract(detail.contract), proof: parseHeadProof(detail.proof) };
}

function firstBundle(): PublicationBundle {
  const [bundle] = bundles;
  assert.ok(bundle, 'the hostile gateway was shown a bundle');
  return bundle;
}

suite('a hostile owner', () => {
  test('replaying an old version gets VERSION_OLD', async () => {
    const old = await world.client('owner').version('shop', 0);
    await assert.rejects(world.client('web-1').submitVersion('shop', { contract: old.contract, signed: old.signed }), {
      code: 'VERSION_OLD',
    });
  });

  test('a head signed by a key that is no owner changes nothing', async () => {
    const { contract, proof } = await current();
    const next: Contract = {
      ...contract,
      version: contract.version + 1,
      access: [{ from: ['web-1'], to: ['secret'] }],
    };
    const head = headOf(next, headHash(proof.newest.head));
    const signed = { head, signatures: [signHead(head, createOwnerKey().signer)] };
    await assert.rejects(
      world.client('web-1').submitVersion('shop', { contract: asDocument(next), signed: asDocument(signed) }),
      { code: /^(HEAD_FORGED|QUORUM_MISSING)$/ },
    );
    assert.equal((await world.client('web-1').deployment('shop')).version, contract.version);
  });

  test('a contract that is not the one its head signs is refused', async () => {
    const { contract, proof } = await current();
    const owner = openOwnerKey(await readPrivateFile(await ownerKeyPath()), null);
    const next: Contract = { ...contract, version: contract.version + 1 };
    const head = headOf(next, headHash(proof.newest.head));
    const signed = { head, signatures: [signHead(head, owner.signer)] };
    const tampered = { ...next, access: [{ from: ['web-1'], to: ['secret'] }] };
    await assert.rejects(
      world.client('web-1').submitVersion('shop', { contract: asDocument(tampered), signed: asDocument(signed) }),
      { code: 'HEAD_MISMATCH' },
    );
  });
});

suite('a hostile joiner', () => {
  test('a claim with an invite key of its own gets JOIN_REFUSED', async () => {
    await world.apply({ members: { owner: { keeper: true }, 'web-1': {}, laptop: {} } });
    const token = parseToken(await world.invite('laptop'));
    const details = { nonce: toBase64url(randomBytes(16)), member: 'laptop', wireguard: null };
    const claim = (seed: Uint8Array) =>
      createClaim({
        deployment: token.deployment,
        details,
        nodeSigner: evilKey.signer,
        inviteSigner: createInvite(seed).signer,
      });
    const forged = claim(randomBytes(32));
    const answer = await evil.requestJoin(token.keepers, { signed: forged, details }, AbortSignal.timeout(10_000));
    assert.equal(answer.ok, false);
    assert.equal(!answer.ok && answer.code, 'JOIN_REFUSED');

    const right = claim(Buffer.from(token.seed ?? '', 'base64url'));
    const altered = { ...right, nodeSignature: forged.nodeSignature };
    const second = await evil.requestJoin(token.keepers, { signed: altered, details }, AbortSignal.timeout(10_000));
    assert.equal(!second.ok && second.code, 'JOIN_REFUSED');
  });
});

suite('a hostile publisher', () => {
  const publish = async (bundle: PublicationBundle) => {
    const connection = await evil.dial(world.gateway.pin.peers, AbortSignal.timeout(10_000));
    return evil.publish(connection, bundle, AbortSignal.timeout(10_000));
  };

  test("another deployment's bundle, shown by a stranger, is refused", async () => {
    await eventually('the hostile gateway was shown a bundle', async () => bundles.length > 0);
    const answer = await publish(firstBundle());
    assert.equal(answer.ok, false);
  });

  test('a publication that the head does not list is PUBLICATION_FORGED', async () => {
    const { proof } = await current();
    const bundle = firstBundle();
    const gatewayPeer = world.gateway.pin.peers[0]?.split('/p2p/')[1] ?? '';
    const forged = {
      ...bundle,
      proof,
      publications: bundle.publications.map((publication) => ({
        ...publication,
        gateways: [gatewayPeer],
        name: 'stolen',
        members: [{ node: evilKey.peerId }],
      })),
    };
    const answer = await publish(forged);
    assert.equal(!answer.ok && answer.code, 'PUBLICATION_FORGED');
  });
});

suite('a hostile gateway', () => {
  const ask = async (request: { service: string; kind: StreamKind; deployment?: string }) => {
    const link = await eventually('the member linked to the hostile gateway', async () =>
      links.find((one) => !one.closed.aborted),
    );
    const { contract } = await current();
    const stream = link.open(
      { deployment: request.deployment ?? contract.deployment, service: request.service, kind: request.kind },
      request.kind === 'http'
        ? { method: 'GET', authority: 'evil.localhost', target: '/', fields: [], bodyless: true }
        : undefined,
    );
    return new Promise<string>((resolve) => {
      stream.listen({
        onHead: (head) => resolve('status' in head ? String(head.status) : 'connected'),
        onData: () => undefined,
        onEnd: () => undefined,
        onDrain: () => undefined,
        onClose: (code) => resolve(code ?? 'ended'),
      });
      if (request.kind === 'http') stream.end();
    });
  };

  test('reaches what was published to it', async () => {
    assert.equal(await ask({ service: 'web', kind: 'http' }), '200');
  });

  test('an unpublished service, a raw address and another deployment are refused', async () => {
    assert.equal(await ask({ service: 'secret', kind: 'http' }), 'NOT_PUBLISHED');
    assert.match(await ask({ service: 'db', kind: 'tcp' }), /^(SERVICE_UNKNOWN|NOT_PUBLISHED|GRANT_DENIED)$/);
    assert.match(await ask({ service: 'web', kind: 'tcp' }), /^(KIND_MISMATCH|NOT_PUBLISHED)$/);
    assert.match(
      await ask({ service: 'web', kind: 'http', deployment: 'a'.repeat(26) }),
      /^(DEPLOYMENT_UNKNOWN|NOT_PUBLISHED|GRANT_DENIED)$/,
    );
  });

  test('learns nothing of the contract but its own publications', () => {
    const shown = JSON.stringify(bundles);
    for (const secret of ['secret', '10.', 'shop.localhost', '127.0.0.1:']) assert.ok(!shown.includes(secret), secret);
  });
});

function asDocument(value: object): Record<string, never> {
  return value as Record<string, never>;
}

async function ownerKeyPath(): Promise<string> {
  const shown = await world.machine('owner').ok(['key', 'show']);
  return String(shown.json['file'] ?? shown.json['path']);
}
