/** Members ask who comes in themselves: a gateway that lets everybody in meets one that does not. */
import assert from 'node:assert/strict';
import { scryptSync } from 'node:crypto';
import { suite, test } from 'node:test';
import {
  SIGN_IN_LASTS_MS,
  SIGN_IN_PROOF_FIELD,
  createInvite,
  createSignIn,
  formatBasicUser,
  formatSignInProof,
  type Contract,
  type PublishAuth,
} from '@moat/contract';
import type { FieldList, Link } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { MemoryHub } from './memory-links.ts';
import { Peer, rawServer, requestHead, type RawServer } from './peer.ts';
import { DEPLOYMENT, PEERS, contract, machine, targeting, viewOf, type Machine } from './shop.ts';

const NEVER = new AbortController().signal;
const HOST = 'shop.apps.example';
const ana = createInvite(new Uint8Array(32).fill(1));
const eve = createInvite(new Uint8Array(32).fill(2));

const SALT = Buffer.from('0123456789abcdef');
const user = (name: string, password: string): string =>
  formatBasicUser(name, {
    log2N: 12,
    r: 8,
    p: 1,
    salt: SALT,
    hash: scryptSync(password, SALT, 32, { N: 4_096, r: 8, p: 1 }),
  });
const USERS: PublishAuth = { enforce: 'member', users: `${user('ana', 'secret')}\n${user('ben é', 'other')}\n` };
const KEYS: PublishAuth = { enforce: 'member', keys: [ana.key] };

const basic = (name: string, password: string): [string, string] => [
  'authorization',
  `Basic ${Buffer.from(`${name}:${password}`).toString('base64')}`,
];
const proofOf = (who: typeof ana, untilMs: number, host: string = HOST): string => {
  const until = `${new Date(untilMs).toISOString().slice(0, 19)}Z`;
  return formatSignInProof(createSignIn({ host, nonce: 'n'.repeat(22), until }, who.signer));
};
const under = (auth: PublishAuth | undefined, name = 'shop'): Contract['publish'][number] => ({
  ...(contract().publish[0] as Contract['publish'][number]),
  name,
  ...(auth === undefined ? {} : { auth, rules: { enforce: 'member' } }),
});

/** Answers each request with what it was sent. */
function echo(): Promise<RawServer> {
  return rawServer((socket) => {
    let seen = '';
    socket.on('data', (chunk: Buffer) => {
      seen += chunk.toString('latin1');
      const [head = '', body] = seen.split('\r\n\r\n', 2);
      const length = Number(/content-length: (\d+)/.exec(head)?.[1] ?? 0);
      if (body === undefined || body.length < length) return;
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${seen.length}\r\n\r\n${seen}`);
    });
  });
}

interface Shown {
  readonly fields?: FieldList;
  readonly authority?: string;
  readonly body?: string;
}

/** The answer's body, or the code by which it was refused. */
async function ask(link: Link, { fields = [], authority = HOST, body }: Shown = {}): Promise<string> {
  const length: FieldList = body === undefined ? [] : [['content-length', String(body.length)]];
  const head = requestHead({
    authority,
    method: body === undefined ? 'GET' : 'POST',
    bodyless: body === undefined,
    fields: [...fields, ...length],
  });
  const peer = new Peer(link.open({ deployment: DEPLOYMENT, service: 'web', kind: 'http' }, head));
  if (body !== undefined) peer.stream.write(Buffer.from(body));
  peer.stream.end();
  await peer.end();
  return peer.closed?.code ?? peer.body;
}

const begin = async (web: Machine, port: number, publish: Contract['publish']): Promise<void> => {
  web.expose(port, { public: true });
  await web.network.update(viewOf({ ...targeting({ web: port }), publish }));
};

suite('auth with enforce: member', () => {
  test('a gateway that lets everybody in gets nothing, whatever it says of its visitors', async () => {
    const hub = new MemoryHub();
    await using server = await echo();
    await using web = machine(hub, 'web-1', PEERS.web1);
    await begin(web, server.port, [under({ ...USERS, ...KEYS })]);
    const link = await hub.links(PEERS.gateway).connect(PEERS.web1, NEVER);
    const tries: Shown[] = [
      {},
      { fields: [['x-forwarded-user', 'ana']] },
      { fields: [['authorization', 'Basic !!']] },
      { fields: [basic('ana', '')] },
      { fields: [basic('nobody', 'secret')] },
      { fields: [basic('ana', 'secret'), basic('ana', 'secret')] },
      { authority: 'other.example' },
      { authority: 'web.shop.internal' },
      { fields: [[SIGN_IN_PROOF_FIELD, 'ana']] },
      { fields: [[SIGN_IN_PROOF_FIELD, '...']] },
      { body: 'order=1' },
    ];
    for (const shown of tries) assert.equal(await ask(link, shown), 'PUBLIC_AUTH', JSON.stringify(shown));
    assert.equal(server.connections, 0);
  });

  test('a right password comes in, and the service learns who it is from the member alone', async () => {
    const hub = new MemoryHub();
    await using server = await echo();
    await using web = machine(hub, 'web-1', PEERS.web1);
    await begin(web, server.port, [under({ ...USERS, ...KEYS })]);
    const link = await hub.links(PEERS.gateway).connect(PEERS.web1, NEVER);
    const lies: FieldList = [
      ['x-forwarded-user', 'root'],
      ['x_forwarded_user', 'root'],
      ['x-forwarded-client-cert', 'Subject="CN=root"'],
      [SIGN_IN_PROOF_FIELD, 'x'],
      ['x-request-id', '7'],
    ];
    const both = await Promise.all([
      ask(link, { fields: [basic('ben é', 'other'), ...lies], body: 'first' }),
      ask(link, { fields: [basic('ben é', 'other'), ...lies] }),
    ]);
    for (const seen of [...both, await ask(link, { fields: [basic('ben é', 'other'), ...lies] })]) {
      assert.match(seen, /x-forwarded-user: ben%20%C3%A9\r\n/i);
      assert.match(seen, /x-request-id: 7/i);
      assert.doesNotMatch(seen, /root|authorization|x-moat/i);
    }
    assert.match(both[0] ?? '', /\r\n\r\nfirst$/, 'what came while the password was hashed was held');
    assert.equal(await ask(link, { fields: [basic('ben é', 'secret')] }), 'PUBLIC_AUTH');
  });

  test('a gateway that guesses is not listened to for a while; who came in before still does', async () => {
    const hub = new MemoryHub();
    const clock = createManualClock(Date.now());
    await using server = await echo();
    await using web = machine(hub, 'web-1', PEERS.web1, { clock });
    await begin(web, server.port, [under(USERS)]);
    const link = await hub.links(PEERS.gateway).connect(PEERS.web1, NEVER);
    assert.match(await ask(link, { fields: [basic('ana', 'secret')] }), /user: ana/);
    for (let i = 0; i < 121; i++) assert.equal(await ask(link, { fields: [basic('ana', `${i}`)] }), 'PUBLIC_AUTH');
    assert.equal(await ask(link, { fields: [basic('ben é', 'other')] }), 'PUBLIC_AUTH', 'not looked at');
    assert.match(await ask(link, { fields: [basic('ana', 'secret')] }), /user: ana/);
    clock.advance(3_600_000);
    assert.match(await ask(link, { fields: [basic('ben é', 'other')] }), /user: ben/);
  });

  test('more passwords at once than wait their turn are told to come again', async () => {
    const hub = new MemoryHub();
    await using server = await echo();
    await using web = machine(hub, 'web-1', PEERS.web1);
    await begin(web, server.port, [under(USERS)]);
    const link = await hub.links(PEERS.gateway).connect(PEERS.web1, NEVER);
    const codes = await Promise.all(
      Array.from({ length: 20 }, (_, i) => ask(link, { fields: [basic('ana', `wrong ${i}`)] })),
    );
    assert.deepEqual(
      Object.fromEntries(
        ['PUBLIC_AUTH', 'SERVICE_BUSY'].map((code) => [code, codes.filter((one) => one === code).length]),
      ),
      {
        PUBLIC_AUTH: 16,
        SERVICE_BUSY: 4,
      },
    );
  });

  test('a signature lets in until its time, under its name, while its key is listed', async () => {
    const hub = new MemoryHub();
    const clock = createManualClock(Date.parse('2026-11-21T12:00:00Z'));
    const now = clock.now();
    await using server = await echo();
    await using web = machine(hub, 'web-1', PEERS.web1, { clock });
    await begin(web, server.port, [under(KEYS), under(undefined, 'open')]);
    const link = await hub.links(PEERS.gateway).connect(PEERS.web1, NEVER);
    const show = (proof: string, authority = HOST): Promise<string> =>
      ask(link, {
        authority,
        fields: [
          [SIGN_IN_PROOF_FIELD, proof],
          ['authorization', 'Bearer own'],
        ],
      });
    const good = proofOf(ana, now + 60_000);
    for (const proof of [good, good]) {
      const seen = await show(proof);
      assert.match(seen, new RegExp(`x-forwarded-user: ${encodeURIComponent(ana.key)}\\r\\n`, 'i'));
      assert.match(seen, /authorization: Bearer own/i, 'is between client and service');
      assert.doesNotMatch(seen, /x-moat/i);
    }
    const bad: readonly (readonly [string, string])[] = [
      ['nobody listed', proofOf(eve, now + 60_000)],
      ['another name', proofOf(ana, now + 60_000, 'open.apps.example')],
      ['over', proofOf(ana, now)],
      ['for ever', proofOf(ana, now + SIGN_IN_LASTS_MS + 3_600_000)],
      ['a later time', good.replace(/\.[0-9a-z]+\.(?=[^.]+$)/, `.${(now + 3_600_000).toString(36)}.`)],
      ['another key', proofOf(eve, now + 60_000).replace(/^[^.]+/, good.split('.')[0] ?? '')],
      ['without a time', formatSignInProof(createSignIn({ host: HOST, nonce: 'n'.repeat(22) }, ana.signer))],
      ['no end of time', good.replace(/\.[0-9a-z]+\.(?=[^.]+$)/, '.zzzzzzzzz.')],
      ['more behind it', `${good}.x`],
      ['very long', 'a.'.repeat(100_000)],
    ];
    for (const [what, proof] of bad) assert.equal(await show(proof), 'PUBLIC_AUTH', what);
    assert.match(await show('anything', 'open.apps.example'), /^GET /, 'another line is another door');
    assert.equal(await show('anything', 'unknown.apps.example'), 'PUBLIC_AUTH');
    clock.advance(60_000);
    assert.equal(await show(good), 'PUBLIC_AUTH', 'its time is over');
    const later = proofOf(ana, clock.now() + 60_000);
    assert.match(await show(later), /^GET /);
    await begin(web, server.port, [under({ enforce: 'member', keys: [eve.key] })]);
    assert.equal(await show(later), 'PUBLIC_AUTH', 'a version without the key');
  });

  test('members of the network are not asked', async () => {
    const hub = new MemoryHub();
    await using server = await echo();
    await using web = machine(hub, 'web-1', PEERS.web1);
    await begin(web, server.port, [under(KEYS)]);
    const member = await hub.links(PEERS.db1).connect(PEERS.web1, NEVER);
    assert.match(await ask(member), /^GET /);
  });
});
