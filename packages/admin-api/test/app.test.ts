import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MoatError } from '@moat/core';
import { agentEndpoints, createApp, type AgentEvent, type Handlers } from '../src/index.ts';

const refuse = (): never => {
  throw new MoatError('DEPLOYMENT_UNKNOWN', 'no such deployment');
};
const unexpected: unknown[] = [];
const time = '2026-11-20T10:00:00Z';
async function* events(): AsyncGenerator<AgentEvent> {
  yield { time, kind: 'agent', state: 'started' };
  yield { time, kind: 'agent', state: 'stopping' };
}
const handlers = {
  ...(Object.fromEntries(Object.keys(agentEndpoints).map((name) => [name, refuse])) as unknown as Handlers<
    typeof agentEndpoints
  >),
  forget: () => {
    throw new TypeError('a bug');
  },
  explain: ({ params, query }) => ({
    deployment: params['deployment'] ?? '',
    version: 1,
    from: query['from'] ?? '',
    to: query['to'] ?? '',
    allowed: true,
    works: null,
    code: null,
    reason: 'line 1',
    grant: 0,
    path: null,
    pathReason: '',
    next: [],
  }),
  expose: ({ body }) => ({ deployment: body.deployment, target: body.target, public: body.public ?? false }),
  events,
} satisfies Handlers<typeof agentEndpoints>;
const app = await createApp(agentEndpoints, handlers, {
  title: 'test',
  version: '1',
  onUnexpected: (error) => unexpected.push(error),
});

async function ask(path: string, init?: RequestInit): Promise<{ status: number; body: Record<string, never> }> {
  const response = await app.fetch(new Request(`http://localhost${path}`, init));
  return { status: response.status, body: (await response.json()) as Record<string, never> };
}

test('parameters, query and body reach the handler', async () => {
  const { status, body } = await ask('/v1/deployments/shop%2Fx/explain?from=a&to=b');
  assert.equal(status, 200);
  assert.deepEqual([body['deployment'], body['from'], body['to']], ['shop/x', 'a', 'b']);
  const exposed = await ask('/v1/exposed', { method: 'POST', body: '{"deployment":"d","target":"3000"}' });
  assert.deepEqual(exposed.body, { deployment: 'd', target: '3000', public: false });
});

test('bad requests are coded errors', async () => {
  for (const [path, init] of [
    ['/v1/deployments/shop/explain?from=a', undefined],
    ['/v1/exposed', { method: 'POST', body: 'x' }],
    ['/v1/exposed', { method: 'POST', body: '{"deployment":"d","target":"1","more":1}' }],
    // the schema's own checks throw at such a length
    ['/v1/join', { method: 'POST', body: '{"token":{"length":{"toString":1,"valueOf":2}}}' }],
    ['/v1/exposed', { method: 'POST', body: `"${'x'.repeat(5_000_000)}"` }],
  ] as const) {
    const { status, body } = await ask(path, init);
    assert.equal(status, 400);
    assert.equal((body as unknown as { error: { code: string } }).error.code, 'REQUEST_INVALID');
  }
  assert.equal((await ask('/v1/nothing')).status, 404);
  assert.equal((await ask('/v1/status')).status, 404);
});

test('an error without a code is INTERNAL outside and told inside', async () => {
  const { status, body } = await ask('/v1/deployments/x', { method: 'DELETE' });
  assert.equal(status, 500);
  assert.ok(!JSON.stringify(body).includes('a bug'));
  assert.equal((unexpected[0] as Error).message, 'a bug');
});

test('a stream is JSON lines', async () => {
  const response = await app.fetch(new Request('http://localhost/v1/events'));
  const lines = (await response.text()).trim().split('\n');
  assert.equal(lines.length, 2);
});

test('the OpenAPI document lists every endpoint', async () => {
  const { body } = await ask('/v1/openapi.json');
  const paths = (body as unknown as { paths: Record<string, Record<string, unknown>> }).paths;
  for (const { path, method } of Object.values(agentEndpoints) as { path: string; method: string }[]) {
    assert.ok(paths[path]?.[method] !== undefined, `${method} ${path}`);
  }
  const { components } = body as unknown as { components: { schemas: object } };
  assert.ok('NodeStatus' in components.schemas && 'Error' in components.schemas);
});
