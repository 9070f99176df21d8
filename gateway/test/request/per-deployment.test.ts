/** One deployment cannot have the whole gateway. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request, type ClientRequest, type IncomingMessage } from 'node:http';
import { test } from 'node:test';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';
import { TEXT, member } from '../member.ts';

const OTHER = 'other.localhost';

async function ask(edge: EdgeUnderTest, host: string): Promise<ClientRequest> {
  const socket = await edge.connect(host);
  const sent = request({ createConnection: () => socket, headers: { host, connection: 'close' }, path: '/' });
  sent.end();
  return sent;
}

async function statusOf(edge: EdgeUnderTest, host: string): Promise<number> {
  const [response] = (await once(await ask(edge, host), 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode ?? 0;
}

test('above its requests in work a deployment is answered 503, others go on, and what ends makes room', async () => {
  await using edge = await EdgeUnderTest.start({ limits: { requestsPerDeployment: 2 } });
  const endings: (() => void)[] = [];
  const waiting = member((stream) => {
    stream.writeHead({ status: 200, fields: TEXT });
    stream.write(Buffer.from('a'));
    endings.push(() => stream.end());
    return {};
  });
  edge.links.add('m1', waiting);
  const routes = [
    { host: HOST, deployment: 'one', service: 'web', members: ['m1'] },
    { host: OTHER, deployment: 'two', service: 'web', members: ['m1'] },
  ];
  edge.edge.withdraw(edge.routes.swap(routes, [HOST, OTHER]));
  const running = await Promise.all([ask(edge, HOST), ask(edge, HOST)]);
  const answers = await Promise.all(running.map(async (one) => (await once(one, 'response'))[0] as IncomingMessage));
  const refused = (await once(await ask(edge, HOST), 'response'))[0] as IncomingMessage;
  assert.equal(refused.statusCode, 503);
  assert.ok(refused.headers['retry-after']);
  refused.resume();
  assert.equal((await edge.logged(({ status }) => status === 503))['code'], 'DEPLOYMENT_BUSY');
  assert.equal(await statusOf(edge, OTHER), 200);
  endings[0]?.();
  await Promise.all(answers.slice(0, 1).map((answer) => once(answer.resume(), 'end')));
  while (edge.edge.counts.running > 2) await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await statusOf(edge, HOST), 200);
  for (const end of endings) end();
  for (const answer of answers) answer.resume();
});
