import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { freePort } from '@moat/testkit';
import { Agent, Owner, until } from './world.ts';

/** One raw request over the socket. */
function ask(agent: Agent, method: string, path: string, body?: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: join(agent.stateDir, 'agent.sock'), method, path, agent: false }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => (text += chunk.toString()));
      response.on('end', () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

test('the socket answers the API, its document, and bad requests with codes', async () => {
  await using agent = await Agent.start();
  const document = JSON.parse((await ask(agent, 'GET', '/v1/openapi.json')).body) as { paths: object };
  assert.ok('/v1/deployments/{deployment}/versions' in document.paths);
  for (const [method, path, body, status, code] of [
    ['GET', '/v1/nothing', undefined, 404, 'ENDPOINT_UNKNOWN'],
    ['POST', '/v1/join', '{', 400, 'REQUEST_INVALID'],
    ['POST', '/v1/join', '{"token":"moat1.x"}', 400, 'TOKEN_INVALID'],
    // The longest a token may be.
    ['POST', '/v1/join', `{"token":"moat1.${'x'.repeat(32_762)}"}`, 400, 'TOKEN_INVALID'],
    ['POST', '/v1/join', `{"token":"moat1.${'x'.repeat(32_763)}"}`, 400, 'REQUEST_INVALID'],
    ['POST', '/v1/deployments', '{"genesis":{},"contract":{},"signed":{}}', 400, 'CONTRACT_INVALID'],
    ['GET', '/v1/deployments/none', undefined, 404, 'DEPLOYMENT_UNKNOWN'],
    ['POST', '/v1/exposed', '{"deployment":"none","target":"3000"}', 404, 'DEPLOYMENT_UNKNOWN'],
    ['DELETE', '/v1/forwards/none', undefined, 404, 'FORWARD_UNKNOWN'],
  ] as const) {
    const answer = await ask(agent, method, path, body);
    const { error } = JSON.parse(answer.body) as { error: { code: string } };
    assert.deepEqual([answer.status, error.code], [status, code], path);
  }
});

test('a contract that is not signed by its owners is refused and leaves nothing', async () => {
  await using agent = await Agent.start();
  const owner = new Owner(agent);
  const stranger = new Owner(agent);
  const members = [await owner.pinned('home', 2, agent, { keeper: true })];
  const { contract, signed } = owner.write({ members }, [stranger.signer]);
  const genesis = { ...owner.genesis };
  await assert.rejects(agent.client.createDeployment({ genesis, contract: { ...contract }, signed: { ...signed } }), {
    code: /QUORUM_MISSING|HEAD_FORGED/,
  });
  assert.deepEqual(await agent.client.deployments(), []);
  await owner.apply({ members });
  const again = await agent.client.submitVersion(owner.deployment, {
    contract: { ...owner.contract },
    signed: { ...owner.signed },
  });
  assert.equal(again.changed, false);
  const forged = owner.write({ name: 'evil' }, [stranger.signer]);
  await assert.rejects(
    agent.client.submitVersion('shop', { contract: { ...forged.contract }, signed: { ...forged.signed } }),
    { code: /QUORUM_MISSING|HEAD_FORGED/ },
  );
  const detail = await agent.client.deployment('shop');
  assert.deepEqual([detail.version, detail.name, detail.keeper], [0, 'shop', true]);
  const held = await agent.client.held('shop');
  assert.deepEqual([held.head, held.contract, held.proof], [detail.head, detail.contract, detail.proof]);
  assert.ok(!('places' in held));
});

test('a deployment that its owners end stops here and takes nothing more', async () => {
  await using agent = await Agent.start();
  const owner = new Owner(agent);
  const members = [await owner.pinned('home', 2, agent, { keeper: true })];
  const services = [{ name: 'web', on: ['home'], port: 8080, target: '127.0.0.1:3000', protocol: 'tcp' as const }];
  await owner.apply({ members, services, access: [{ from: ['home'], to: ['web'] }] });
  await until('a listener', async () => (await agent.client.hosts('shop')).hosts.length === 1);
  await owner.apply({ state: 'ended' });
  assert.deepEqual((await agent.client.hosts('shop')).hosts, []);
  assert.equal((await agent.client.deployment('shop')).state, 'ended');
  await assert.rejects(owner.apply({ state: 'active' }), { code: 'DEPLOYMENT_ENDED' });
});

test('stopping ends a follower and a join that waits', async () => {
  await using keeper = await Agent.start();
  const owner = new Owner(keeper);
  const place = owner.invited('laptop', 3);
  await owner.apply({ members: [await owner.pinned('home', 2, keeper, { keeper: true }), place.member] });
  const token = await place.token();
  await keeper.stop();
  await using agent = await Agent.start();
  const kinds: string[] = [];
  const waiting = Promise.withResolvers<undefined>();
  const follow = (async () => {
    for await (const event of agent.client.events(AbortSignal.timeout(20_000))) {
      kinds.push(event.kind === 'agent' ? event.state : event.kind);
      if (event.kind === 'join' && event.step === 'waiting') waiting.resolve(undefined);
    }
  })();
  const joining = assert.rejects(agent.client.join({ token, waitMs: 60_000 }), { code: 'AGENT_STOPPING' });
  await waiting.promise;
  await agent.stop();
  await joining;
  await follow;
  assert.equal(kinds[0], 'started');
  assert.equal(kinds.at(-1), 'stopping');
});

test('a service is asked how it is as soon as it is exposed', async () => {
  const asked = Promise.withResolvers<string | undefined>();
  const server = createServer((incoming, response) => {
    asked.resolve(incoming.url);
    response.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  await using agent = await Agent.start();
  const { port } = server.address() as AddressInfo;
  const owner = new Owner(agent);
  const target = `127.0.0.1:${port}`;
  await owner.apply({
    members: [await owner.pinned('home', 2, agent, { keeper: true })],
    services: [{ name: 'web', on: ['home'], port: 8080, target, protocol: 'http', health: '/healthz' }],
  });
  await agent.client.expose({ deployment: 'shop', target, public: true });
  const late = setTimeout(() => asked.resolve('never'), 5000);
  assert.equal(await asked.promise, '/healthz');
  clearTimeout(late);
  server.closeAllConnections();
  server.close();
});

test('what is no socket at the path of the socket is never removed', async () => {
  await using agent = await Agent.start();
  await agent.stop();
  const path = join(agent.stateDir, 'notes.txt');
  await writeFile(path, 'mine');
  await assert.rejects(agent.start({ socketPath: path }), { code: 'SOCKET_FAILED' });
  assert.equal(await readFile(path, 'utf8'), 'mine');
  await agent.start();
});

test('a service that takes datagrams is not forwarded, and a ping asks for its machine', async () => {
  await using agent = await Agent.start();
  const owner = new Owner(agent);
  await owner.apply({
    members: [await owner.pinned('home', 2, agent, { keeper: true })],
    services: [
      { name: 'dns', on: ['home'], port: 53, target: '127.0.0.1:5353', protocol: 'udp' },
      { name: 'ntp', on: ['tag:clock'], port: 123, target: '127.0.0.1:123', protocol: 'udp' },
    ],
    access: [],
  });
  const forward = agent.client.addForward({ deployment: 'shop', service: 'dns', local: '0', keep: false });
  await assert.rejects(forward, { code: 'NEEDS_WIREGUARD', next: ['moat wireguard up'] });
  const ping = (target: string): Promise<unknown> => agent.client.ping(owner.deployment, { target });
  await assert.rejects(ping('dns'), { code: 'GRANT_DENIED' });
  await owner.apply({ ...owner.contract, access: [{ from: ['home'], to: ['dns', 'ntp'] }] });
  await assert.rejects(ping('dns'), { code: 'PING_SELF' });
  await assert.rejects(ping('ntp'), { code: 'SERVICE_UNREACHABLE' });
});

test('a kept forward whose port is taken says so, and can be removed', async () => {
  await using agent = await Agent.start();
  const owner = new Owner(agent);
  await owner.apply({
    members: [await owner.pinned('home', 2, agent, { keeper: true })],
    services: [{ name: 'web', on: ['home'], port: 8080, target: '127.0.0.1:3000', protocol: 'tcp' }],
    access: [{ from: ['home'], to: ['web'] }],
  });
  const port = await freePort();
  const forward = { deployment: 'shop', service: 'web', local: String(port), keep: true };
  const { id, local } = await agent.client.addForward(forward);
  await agent.stop();
  const squatter = createServer();
  await new Promise<void>((resolve) => squatter.listen(port, '127.0.0.1', resolve));
  await agent.start();
  const [listed] = await agent.client.forwards();
  assert.deepEqual([listed?.id, listed?.local, listed?.code], [id, local, 'LISTEN_FAILED']);
  await agent.client.removeForward(id);
  squatter.close();
  await agent.stop();
  await agent.start();
  assert.deepEqual(await agent.client.forwards(), []);
});
