/** A publication without the operator's consent: the public sees a plain page, the owner what to type and where. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const world = new World();
let web: WebService;

before(async () => {
  web = await startWebService('shop');
  await world.startGateway();
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true }, 'web-1': { expose: [String(web.port)] } },
    services: { web: { on: ['web-1'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
    publish: { shop: 'web' },
  });
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
});

test('consent to the network is none to the public: 503 without a word about the inside', async () => {
  const answer = await eventually('the name is there', async () => {
    const found = await world.gateway.browser.fetch('shop.localhost');
    return found.text.includes('NOT_PUBLIC') && found;
  });
  assert.equal(answer.status, 503);
  assert.doesNotMatch(answer.text, /web-1|127\.0\.0\.1|expose|12D3Koo/);
});

test('the machine and the owner are told the line to type', async () => {
  const line = `moat node expose 127.0.0.1:${web.port} --to shop --public`;
  const here = await world.machine('web-1').ok(['names']);
  assert.ok(here.stdout.includes(line), here.stdout);
  await eventually('the owner hears of it', async () => {
    const [name] = (await world.machine('owner').ok(['names'])).json['names'] as { remedy: string | null }[];
    return name?.remedy === `on web-1: ${line}`;
  });
});

test('a machine that starts again still knows what it told', async () => {
  await world.agent('web-1').kill('SIGKILL');
  await world.restart('web-1');
  await eventually('its name is answered again', async () => {
    return (await world.gateway.browser.fetch('shop.localhost')).text.includes('NOT_PUBLIC');
  });
});

test('with it the name works, and nobody is told anything any more', async () => {
  const [, , , target = '', ...rest] = `moat node expose 127.0.0.1:${web.port} --to shop --public`.split(' ');
  await world.machine('web-1').ok(['node', 'expose', target, ...rest]);
  assert.equal((await world.gateway.browser.fetch('shop.localhost')).status, 200);
  for (const machine of ['web-1', 'owner']) {
    await eventually(`${machine} is content`, async () => {
      const [name] = (await world.machine(machine).ok(['names'])).json['names'] as {
        remedy: string | null;
        error: unknown;
      }[];
      return name?.remedy === null && name.error === null;
    });
  }
});
