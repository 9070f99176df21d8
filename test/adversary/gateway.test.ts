/** What a gateway can do, and can never do (architecture.md §2), with a hostile twin beside ours. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { randomBytes, scryptSync } from 'node:crypto';
import {
  SIGN_IN_PROOF_FIELD,
  createSignIn,
  formatBasicUser,
  formatSignInProof,
  formatTime,
  type PublishAuth,
  type PublishRules,
} from '@moat/contract';
import type { FieldList } from '@moat/core';
import { createOwnerKey, type OwnerKeyPair } from '@moat/identity';
import { eventually } from '../e2e/machine.ts';
import { publication } from './pen.ts';
import { Shop } from './shop.ts';
import { Twin, framed, gone, unframed } from './twins/twin.ts';

/** A rate that no honest test here comes near. */
const COUNTED: PublishRules = { rate: { all: { count: 5, perMs: 3_600_000 } }, enforce: 'member' };

const ASKED: PublishRules = { enforce: 'member' };

function usersFile(user: string, password: string): string {
  const salt = randomBytes(16);
  const hash = scryptSync(password, salt, 32, { N: 4_096, r: 8, p: 1 });
  return `${formatBasicUser(user, { log2N: 12, r: 8, p: 1, salt, hash })}\n`;
}

suite('gateway', () => {
  let shop: Shop;
  let evil: Twin;

  before(async () => {
    evil = await Twin.start({ role: 'gateway' });
    shop = await Shop.open({
      more: ({ draft }) => ({
        publish: [...(draft.publish ?? []), publication('evil', 'web', 'evil.localhost', [evil.address])],
      }),
    });
    await eventually('the honest gateway serves', () => shop.served());
    await eventually('the twin was shown its publication', async () => evil.bundles.length > 0);
  });

  after(async () => {
    await evil[Symbol.asyncDispose]();
    await shop[Symbol.asyncDispose]();
  });

  const ask = async (service: string, kind: 'http' | 'tcp', deployment = shop.pen.deployment): Promise<string> =>
    evil.ask(await evil.linkFrom(shop.peer('web')), { deployment, service, kind });

  test('can: answer for its domain and open streams to the services published at it', async () => {
    assert.equal(await ask('web', 'http'), '200');
    const answer = await shop.world.gateway.browser.fetch('shop.localhost');
    assert.equal(answer.text, 'hello from web\n');
  });

  test('can never: reach any other service', async () => {
    const came = [shop.db.came, shop.private.came];
    for (const service of ['db', 'private']) assert.equal(await ask(service, 'tcp'), 'NOT_PUBLISHED');
    for (const service of ['db', 'private']) assert.equal(await ask(service, 'http'), 'NOT_PUBLISHED');
    assert.equal(await ask('nothing', 'tcp'), 'NOT_PUBLISHED', 'it cannot even tell what exists');
    assert.deepEqual([shop.db.came, shop.private.came], came);
  });

  test('can never: reach a published service by another kind of stream than it was published as', async () => {
    assert.equal(await ask('web', 'tcp'), 'KIND_MISMATCH');
  });

  test('can never: ask more often under a name than the members that keep its rate let it', async () => {
    const line = { ...publication('counted', 'web', 'evil.localhost', [evil.address]), rules: COUNTED };
    const { publish } = shop.contract;
    await shop.apply({ publish: [...publish, line] });
    const link = await evil.linkFrom(shop.peer('web'));
    const { deployment } = shop.pen;
    const { requests } = shop.web;
    const outcomes: string[] = [];
    for (let i = 0; i < 12; i++) {
      outcomes.push(await evil.ask(link, { deployment, service: 'web', kind: 'http' }, 'counted.evil.localhost'));
    }
    assert.deepEqual(outcomes, [...Array<string>(5).fill('200'), ...Array<string>(7).fill('PUBLIC_RATE')]);
    assert.equal(shop.web.requests, requests + 5);
    const other = await evil.ask(link, { deployment, service: 'web', kind: 'http' }, 'evil.evil.localhost');
    assert.equal(other, '200', 'a name without the rule is another door, which its publisher opened');
    await shop.apply({ publish });
  });

  test('can never: let somebody in where members ask too, though it asks nobody', async () => {
    const [ana, eve] = [createOwnerKey(), createOwnerKey()];
    const auth: PublishAuth = { enforce: 'member', keys: [ana.key], users: usersFile('ana', 'correct horse') };
    const line = { ...publication('asked', 'web', 'evil.localhost', [evil.address]), auth, rules: ASKED };
    const { publish } = shop.contract;
    await shop.apply({ publish: [line] });
    await eventually('the twin was shown it', async () => JSON.stringify(evil.bundles.at(-1)).includes('"asked"'));
    const link = await evil.linkFrom(shop.peer('web'));
    const { deployment } = shop.pen;
    const { requests } = shop.web;
    const host = 'asked.evil.localhost';
    const tell = (fields: FieldList, authority = host): Promise<string> =>
      evil.ask(link, { deployment, service: 'web', kind: 'http' }, authority, fields);
    const basic = (text: string): FieldList => [['authorization', `Basic ${Buffer.from(text).toString('base64')}`]];
    const proof = (by: OwnerKeyPair, untilMs: number, name = host): FieldList => {
      const signIn = { host: name, nonce: 'n'.repeat(22), until: formatTime(untilMs) };
      return [[SIGN_IN_PROOF_FIELD, formatSignInProof(createSignIn(signIn, by.signer))]];
    };
    const soon = Date.now() + 60_000;
    const tries: readonly FieldList[] = [
      [],
      [['x-forwarded-user', 'ana']],
      [
        [
          'cookie',
          `__Host-moat-session=${formatSignInProof(createSignIn({ host, nonce: 'n'.repeat(22) }, eve.signer))}`,
        ],
      ],
      basic('ana:guess'),
      basic('root:correct horse'),
      proof(eve, soon),
      proof(ana, soon, 'shop.evil.localhost'),
      proof(ana, Date.now() - 1_000),
      proof(ana, Date.now() + 30 * 86_400_000),
    ];
    for (const fields of tries) assert.equal(await tell(fields), 'PUBLIC_AUTH', JSON.stringify(fields));
    for (const authority of ['evil.localhost', 'web.shop.internal', '127.0.0.1:80', 'localhost']) {
      assert.equal(await tell([], authority), 'PUBLIC_AUTH', authority);
    }
    assert.equal(await evil.ask(link, { deployment, service: 'web', kind: 'tcp' }), 'KIND_MISMATCH');
    assert.equal(shop.web.requests, requests, 'the service heard nothing of all that');
    const lies: FieldList = [
      ['x-forwarded-user', 'root'],
      ['x-forwarded-client-cert', 'Subject="CN=root"'],
    ];
    for (const [shown, user] of [
      [basic('ana:correct horse'), 'ana'],
      [proof(ana, soon), encodeURIComponent(ana.key)],
    ] as const) {
      assert.equal(await tell([...shown, ...lies]), '200', 'who shows it what lets in');
      const seen = shop.web.lastFields.join('\n');
      assert.match(seen, new RegExp(`x-forwarded-user\n${user}`, 'i'));
      assert.doesNotMatch(seen, /root|authorization|x-moat/i);
    }
    await shop.apply({ publish });
  });

  test('can never: reach another port or a raw address', async () => {
    const link = await evil.linkFrom(shop.peer('web'));
    const { deployment } = shop.pen;
    for (const service of ['127.0.0.1:22', `127.0.0.1:${shop.db.port}`, '10.77.0.3', '[::1]:80', '../db', 'web\0db']) {
      await assert.rejects(async () => evil.ask(link, { deployment, service, kind: 'tcp' }).then(refuse), {
        code: 'FRAME_INVALID',
      });
    }
    // nor by what it says the client asked for: the target is the contract's, whatever the authority
    const requests = shop.web.requests;
    for (const authority of [`127.0.0.1:${shop.db.port}`, 'db.shop.internal:5432', 'localhost:22']) {
      assert.equal(await evil.ask(link, { deployment, service: 'web', kind: 'http' }, authority), '200');
    }
    assert.equal(shop.web.requests, requests + 3, 'every one of them reached the published service and nothing else');
  });

  test('can never: reach another member', async () => {
    // only the member that serves its publication links to it; what it holds of the others is nothing
    assert.deepEqual([...new Set(evil.links.list().map(({ peer }) => peer))], [shop.peer('web')]);
    const dialed = ['app', 'hub'].map(async (name) => {
      const connection = await evil.dial(shop.addresses[name] ?? []);
      for (const protocol of ['/moat/link/1', '/moat/link-stream/1', '/moat/heads/1']) {
        const { answer } = await evil.sendRaw(connection, protocol, framed({ type: 'ask' }));
        assert.equal(answer.length, 0, `${name} ${protocol}`);
      }
      await gone(connection);
    });
    await Promise.all(dialed);
  });

  test('can never: reach another deployment of the same machine', async () => {
    assert.match(await ask('web', 'http', 'a'.repeat(26)), /^(DEPLOYMENT_UNKNOWN|GRANT_DENIED|NOT_PUBLISHED)$/);
  });

  test('can never: learn the rest of the contract', async () => {
    const shown = JSON.stringify(evil.bundles);
    // Words, as hashes and signatures have any two letters somewhere; those have none of what parts words here.
    const words = new Set(shown.split(/[".,:/ ]+/));
    for (const secret of ['db', 'private', 'app', 'hub', 'access']) {
      assert.ok(!words.has(secret), `${secret} is not in what it was shown`);
    }
    for (const secret of ['10.77', 'shop.localhost', '127.0.0.1']) {
      assert.ok(!shown.includes(`"${secret}`) && !shown.includes(`${secret}"`), `nor is ${secret}`);
    }
    // what it may ask for over the same connection is answered as if nothing were there
    const [connection] = evil.overlay.connections(shop.peer('web'));
    assert.ok(connection);
    const { deployment } = shop.pen;
    for (const version of [0, 1]) {
      const pull = await evil.sendRaw(connection, '/moat/heads/1', framed({ kind: 'pull', deployment, version }));
      assert.deepEqual(unframed(pull.answer).map(String), ['{"found":false}']);
    }
    const hello = Buffer.from(JSON.stringify({ deployments: [deployment] }).padEnd(1024));
    const answer = unframed((await evil.sendRaw(connection, '/moat/hello/1', framed(hello))).answer);
    assert.deepEqual(
      answer.map((message) => JSON.parse(String(message))),
      [{ deployments: [] }],
    );
  });

  test('can never: have a member dial another host, or a port of its own choice elsewhere', async () => {
    const decoy = createServer().listen(0, '127.0.0.1');
    await once(decoy, 'listening');
    let came = 0;
    decoy.on('connection', (socket) => {
      came += 1;
      socket.destroy();
    });
    const { port } = decoy.address() as AddressInfo;
    const [connection] = evil.overlay.connections(shop.peer('web'));
    assert.ok(connection);
    const ticket = { id: 'A'.repeat(22), secret: 'A'.repeat(43) };
    const offer = { type: 'offer', tickets: [ticket], port, kind: 'gateway', expires: 10_000 };
    for (const named of [{ host: '127.0.0.2' }, { address: '/ip4/127.0.0.2/tcp/1' }, { ports: [port] }]) {
      const outcome = await evil.sendRaw(connection, '/moat/link/1', framed({ ...offer, ...named }));
      assert.equal(outcome.answer.length, 0, 'an offer that names a host is none');
    }
    assert.equal(came, 0);
    decoy.close();
  });

  test('can never: keep a publication that a newer version withdrew', async () => {
    const [before] = evil.bundles;
    assert.ok(before);
    const link = await evil.linkFrom(shop.peer('web'));
    await shop.apply({ publish: shop.contract.publish.filter(({ name }) => name !== 'evil') });
    // the member ends the link by itself; the gateway has no say
    if (!link.closed.aborted) await once(link.closed, 'abort', { signal: AbortSignal.timeout(5000) });
    await assert.rejects(evil.link(shop.peer('web')));
    assert.equal(await shop.served(), true, 'the other gateway goes on');
    // and what it was shown before names nothing that anybody else would believe now
    const honest = await evil.dial(shop.world.gateway.pin.peers);
    const answer = await evil.overlay.publish(honest, before.bundle, AbortSignal.timeout(10_000));
    assert.equal(answer.ok, false);
  });

  test('can never: forge a publication', async () => {
    const [{ bundle } = { bundle: undefined }] = evil.bundles;
    assert.ok(bundle);
    const gateways = [shop.world.gateway.pin.peers[0]?.split('/p2p/')[1] ?? ''];
    const honest = await evil.dial(shop.world.gateway.pin.peers);
    for (const forge of [
      { gateways, name: 'stolen', members: [{ node: evil.peer }] },
      { gateways, members: [{ node: evil.peer }] },
      { gateways, service: 'db' },
    ]) {
      const publications = bundle.publications.map((line) => ({ ...line, ...forge }));
      const answer = await evil.overlay.publish(honest, { ...bundle, publications }, AbortSignal.timeout(10_000));
      assert.ok(
        !answer.ok && /^(PUBLICATION_FORGED|HEAD_OLD|VERSION_OLD|PUBLISHER_UNKNOWN)$/.test(answer.code),
        JSON.stringify(answer),
      );
    }
    await assert.rejects(shop.world.gateway.browser.fetch('stolen.localhost'), /unrecognized name/);
  });
});

function refuse(code: string): never {
  throw Object.assign(new Error(code), { code });
}
