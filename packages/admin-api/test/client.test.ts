import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { MoatError } from '@moat/core';
import { createAgentClient, createGatewayClient } from '../src/index.ts';

async function serve(t: TestContext, listener: RequestListener): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'moat-api-'));
  const socketPath = join(directory, 'a.sock');
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  t.after(async () => {
    server.closeAllConnections();
    server.close();
    await rm(directory, { recursive: true });
  });
  return socketPath;
}

test('no socket, a dead socket and a plain file all say AGENT_NOT_RUNNING with the way on', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'moat-api-'));
  t.after(() => rm(directory, { recursive: true }));
  await writeFile(join(directory, 'file'), '');
  for (const name of ['absent.sock', 'file']) {
    const client = createAgentClient({ socketPath: join(directory, name) });
    await assert.rejects(client.status(), (error: MoatError) => {
      assert.equal(error.code, 'AGENT_NOT_RUNNING');
      assert.deepEqual(error.next, ['moat node run']);
      return true;
    });
  }
  const gateway = createGatewayClient({ socketPath: join(directory, 'absent.sock') });
  await assert.rejects(gateway.status(), { code: 'AGENT_NOT_RUNNING', next: ['moat gateway run'] });
});

test('an error of the agent comes back as the same coded error', async (t) => {
  const socketPath = await serve(t, (_request, response) => {
    const error = new MoatError('INVITE_USED', 'taken', { reason: 'why', next: ['ask again'], retryable: false });
    response.writeHead(409, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: error.toBody() }));
  });
  await assert.rejects(createAgentClient({ socketPath }).join({ token: 'moat1.x' }), {
    kind: 'moat-error',
    code: 'INVITE_USED',
    message: 'taken',
    reason: 'why',
    next: ['ask again'],
  });
});

test('what runs an older version and does not know a request is to be restarted', async (t) => {
  const socketPath = await serve(t, (_request, response) => {
    response.writeHead(404, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ error: new MoatError('ENDPOINT_UNKNOWN', 'no endpoint').toBody() }));
  });
  await assert.rejects(createAgentClient({ socketPath }).status(), {
    code: 'ENDPOINT_UNKNOWN',
    next: ['restart the agent or gateway so that it runs the installed version'],
  });
});

test('paths, queries and bodies are written from the table', async (t) => {
  const seen: string[] = [];
  const socketPath = await serve(t, (request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      seen.push(`${request.method} ${request.url} ${body}`);
      response.end(JSON.stringify({ done: true }));
    });
  });
  const client = createAgentClient({ socketPath });
  await client.forget('a/b');
  await client.unexpose({ deployment: 'shop', target: '127.0.0.1:3000' });
  await assert.rejects(client.explain('shop', 'web-1', 'tag:db'), { code: 'AGENT_ANSWER_INVALID' });
  assert.deepEqual(seen, [
    'DELETE /v1/deployments/a%2Fb ',
    'DELETE /v1/exposed {"deployment":"shop","target":"127.0.0.1:3000"}',
    'GET /v1/deployments/shop/explain?from=web-1&to=tag%3Adb ',
  ]);
});

test('a silent agent is AGENT_TIMEOUT, an aborted call ends with the reason', async (t) => {
  const socketPath = await serve(t, () => undefined);
  const client = createAgentClient({ socketPath });
  await assert.rejects(client.status({ timeoutMs: 20 }), { code: 'AGENT_TIMEOUT', retryable: true });
  const reason = new Error('enough');
  await assert.rejects(client.status({ signal: AbortSignal.abort(reason) }), reason);
});

test('events arrive line by line and end with the signal', async (t) => {
  const time = '2026-11-20T10:00:00Z';
  const socketPath = await serve(t, (_request, response) => {
    response.write(`${JSON.stringify({ time, kind: 'agent', state: 'started' })}\n{"time":"${time}",`);
    response.write('"kind":"claim","deployment":"d","member":"m","peer":"p"}\n');
  });
  const stop = new AbortController();
  const kinds: string[] = [];
  for await (const event of createAgentClient({ socketPath }).events(stop.signal)) {
    kinds.push(event.kind);
    if (kinds.length === 2) stop.abort();
  }
  assert.deepEqual(kinds, ['agent', 'claim']);
});
