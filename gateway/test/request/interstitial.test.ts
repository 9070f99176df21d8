/** The page in front of strangers: browsers read it once a host, programs never, and nobody is led past it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answering } from '../member.ts';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { Desk } from '../desk.ts';
import { Shop } from '../shop.ts';

const NAVIGATION = ['sec-fetch-mode: navigate', 'sec-fetch-site: none', 'accept: text/html'];
const ORIGIN = `origin: https://${HOST}`;

async function edge(): Promise<EdgeUnderTest> {
  const started = await EdgeUnderTest.start();
  started.publish({ peer: answering('inside') });
  started.route({ host: HOST, deployment: 'd', service: 'web', members: ['peer'], warns: true });
  return started;
}

async function ask(on: EdgeUnderTest, line: string, fields: readonly string[] = []): Promise<string> {
  const head = [`${line} HTTP/1.1`, `host: ${HOST}`, 'connection: close', 'content-length: 0', ...fields];
  return on.raw(`${head.join('\r\n')}\r\n\r\n`);
}

const isPage = (answer: string): boolean => answer.includes('Before you go on') && !answer.includes('inside');
const isInside = (answer: string): boolean => answer.startsWith('HTTP/1.1 200') && answer.endsWith('inside');
const cookieOf = (answer: string): string => /set-cookie: ([^;\r]+)/.exec(answer)?.[1] ?? '';

test('a navigation reads the page, its button sets a cookie, and then it is inside', async () => {
  await using on = await edge();
  const page = await ask(on, 'GET /a?b=%20c', NAVIGATION);
  assert.ok(isPage(page), page);
  const action = /action="([^"]+)"/.exec(page)?.[1] ?? '';
  const gone = await ask(on, `POST ${action}`, [...NAVIGATION, ORIGIN]);
  assert.match(gone, /^HTTP\/1\.1 303/);
  assert.match(gone, /\r\nlocation: \/a\?b=%20c\r\n/);
  assert.match(gone, /set-cookie: __Host-moat-seen=[^;]+; Path=\/; Secure; HttpOnly; SameSite=Lax/);
  assert.ok(isInside(await ask(on, 'GET /a', [...NAVIGATION, `cookie: x=y; ${cookieOf(gone)}`])));
});

test('programs, scripts and pictures pass, old browsers that ask for HTML first do not', async () => {
  await using on = await edge();
  for (const fields of [
    [],
    ['accept: */*'],
    ['accept: application/json'],
    ['sec-fetch-mode: no-cors', 'accept: text/html'],
  ]) {
    assert.ok(isInside(await ask(on, 'GET /', fields)), fields.join());
  }
  assert.ok(isInside(await ask(on, 'POST /hook')));
  assert.ok(isPage(await ask(on, 'GET /', ['accept: text/html,application/xhtml+xml'])));
  assert.ok(isPage(await ask(on, 'POST /form', NAVIGATION)), 'a form from elsewhere');
});

test('nobody is led past it: not by a link, a form of another host, another host’s cookie or an old one', async () => {
  await using on = await edge();
  const way = '/.well-known/moat/continue?to=/x';
  for (const [line, fields] of [
    [`GET ${way}`, NAVIGATION],
    [`POST ${way}`, [...NAVIGATION, 'origin: https://evil.example']],
    [`POST ${way}`, [...NAVIGATION, 'origin: null']],
    [`POST ${way}`, NAVIGATION],
  ] as const) {
    const answer = await ask(on, line, fields);
    assert.match(answer, /^HTTP\/1\.1 303/);
    assert.equal(cookieOf(answer), '', line);
  }
  const good = cookieOf(await ask(on, `POST ${way}`, [ORIGIN]));
  const [until = '', seal = ''] = good.split('=')[1]?.split('.') ?? [];
  for (const cookie of [
    `__Host-moat-seen=${until}.${seal.replace(/^./, (c) => (c === 'A' ? 'B' : 'A'))}`,
    `__Host-moat-seen=${(Number.parseInt(until, 36) + 1).toString(36)}.${seal}`,
    `__Host-moat-seen=${until}`,
    '__Host-moat-seen=',
    `seen=${until}.${seal}`,
  ]) {
    assert.ok(isPage(await ask(on, 'GET /', [...NAVIGATION, `cookie: ${cookie}`])), cookie);
  }
  for (const to of ['//evil.example', '/%0d%0aset-cookie:x=y', 'https://evil.example', '/\\evil.example', '']) {
    const answer = await ask(on, `POST /.well-known/moat/continue?to=${encodeURIComponent(to)}`, [ORIGIN]);
    assert.match(answer, /\r\nlocation: \/(?:%0d%0aset-cookie:x=y)?\r\n/, to);
  }
});

test('only strangers have the page: whom the operator allows has none from then on', async () => {
  const desk = new Desk({ warnsOfStrangers: true });
  const shop = new Shop('one');
  await desk.show(shop.web1, shop.bundle(shop.first));
  assert.equal(desk.routes.current.find('shop.localhost')?.warns, true);
  desk.intake.decide(shop.deployment, 'allow', null);
  desk.intake.recheck(shop.deployment);
  assert.equal(desk.routes.current.find('shop.localhost')?.warns, undefined);
  const invited = new Desk({ publishers: { allow: [shop.deployment] }, warnsOfStrangers: true });
  await invited.show(shop.web1, shop.bundle(shop.first));
  assert.equal(invited.routes.current.find('shop.localhost')?.warns, undefined);
});
