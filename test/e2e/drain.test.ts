/** A gateway that is drained: what runs has its time, what is new is turned away, members hear of it, the process ends with 0. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { after, before, test } from 'node:test';
import { createGatewayClient, type GatewayClient } from '@moat/admin-api';
import { connect as tlsConnect } from 'node:tls';
import { WebSocket } from 'ws';
import { eventually } from './machine.ts';
import { startWebService, type WebService } from './web-service.ts';
import { World } from './world.ts';

const HOST = 'shop.localhost';
/** More than all buffers on the way, so that the download runs for as long as its client does not read. */
const BYTES = 48 * 2 ** 20;
const world = new World();
let web: WebService;
let gateway: GatewayClient;
let socketPath: string;

before(async () => {
  web = await startWebService('shop');
  await world.startGateway('open', { workers: 2 });
  socketPath = world.gateway.machine.path('state', 'gateway', 'gateway.sock');
  gateway = createGatewayClient({ socketPath });
  await world.grow({
    name: 'shop',
    members: { owner: { keeper: true } },
    services: { web: { on: ['owner'], port: 80, target: `127.0.0.1:${web.port}`, protocol: 'http' } },
    publish: { shop: 'web' },
  });
  await world.machine('owner').ok(['node', 'expose', String(web.port), '--to', 'shop', '--public']);
  await serving();
});

after(async () => {
  await world[Symbol.asyncDispose]();
  await web?.[Symbol.asyncDispose]();
});

const serving = (): Promise<unknown> =>
  eventually('every worker serves', async () => {
    const { workers } = await gateway.status();
    return workers.length === 2 && workers.every(({ state, links }) => state === 'serving' && links > 0);
  });

async function readiness(): Promise<number> {
  const sent = httpRequest({ socketPath, path: '/readyz', agent: false });
  sent.end();
  const [response] = (await once(sent, 'response')) as [IncomingMessage];
  response.resume();
  return response.statusCode ?? 0;
}

/** A download that its client does not read yet, and a WebSocket that works. */
async function twoThatRun(): Promise<{ readonly download: IncomingMessage; readonly socket: WebSocket }> {
  const { browser, port } = world.gateway;
  const { response: download } = await browser.open(HOST, { path: `/download?bytes=${BYTES}` });
  const socket = new WebSocket(`wss://127.0.0.1:${port}/ws`, { ...browser.tls(HOST), headers: { host: HOST } });
  await once(socket, 'open');
  return { download, socket };
}

async function echoed(socket: WebSocket, text: string): Promise<void> {
  socket.send(text);
  const [data] = (await once(socket, 'message')) as [Buffer];
  assert.equal(data.toString(), text);
}

async function sizeOf(download: IncomingMessage): Promise<number> {
  let bytes = 0;
  for await (const chunk of download as AsyncIterable<Buffer>) bytes += chunk.length;
  return bytes;
}

/** How a connection that comes now is met. */
function knock(): Promise<string> {
  return new Promise((resolve) => {
    const socket = tlsConnect(world.gateway.browser.tls(HOST), () => {
      socket.destroy();
      resolve('accepted');
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'failed'));
  });
}

test('a download and a WebSocket end by themselves while nothing new comes in; then the gateway is gone, exit code 0', async () => {
  const { machine, daemon } = world.gateway;
  const { download, socket } = await twoThatRun();
  const drained = machine.run(['gateway', 'drain', '--timeout', '50s']);
  const status = await eventually('it drains', async () => {
    const now = await gateway.status();
    return now.draining !== null && now;
  });
  assert.deepEqual([status.requestsInFlight, status.webSockets], [2, 1]);
  assert.equal(await readiness(), 503);
  await eventually('nobody is let in', async () => (await knock()) === 'ECONNREFUSED');
  await echoed(socket, 'still here');
  // Its link says so, and the gateway answers why.
  await eventually('the member knows', async () => {
    const [publication] = await world.client('owner').publications();
    return publication?.error?.code === 'GATEWAY_STOPPING';
  });
  assert.equal(await sizeOf(download), BYTES);
  await echoed(socket, 'and after it');
  assert.equal(daemon.running, true);
  socket.close();
  const { exitCode, json, stderr } = await drained;
  assert.equal(exitCode, 0, stderr);
  assert.deepEqual([json['cut'], json['running']], [0, { requestsInFlight: 2, webSockets: 1, tunnels: 0 }]);
  await eventually('the process is gone', async () => Promise.resolve(!daemon.running));
  assert.equal(daemon.child.exitCode, 0);
  assert.equal((await machine.run(['gateway', 'drain'])).json['code'], 'AGENT_NOT_RUNNING');
});

test('what outlasts its time is cut off, and the command says what; a second word shortens it', async () => {
  await world.restartGateway();
  await serving();
  const { machine, daemon } = world.gateway;
  const { download, socket } = await twoThatRun();
  const closed = once(socket, 'close');
  await gateway.stop({ drainMs: 600_000 });
  const { exitCode, json, stderr } = await machine.run(['gateway', 'drain', '--timeout', '1s']);
  assert.deepEqual([exitCode, json['cut']], [0, 2], stderr);
  await closed;
  await assert.rejects(sizeOf(download), 'the client sees that it is not whole');
  await eventually('the process is gone', async () => Promise.resolve(!daemon.running));
  assert.equal(daemon.child.exitCode, 0);
  const { lines } = await world.restartGateway().then(() => gateway.audit({ after: 0, sinceMs: 0 }));
  assert.deepEqual(
    lines.filter(({ action }) => action === 'gateway.draining').map(({ details }) => details?.['drainMs']),
    [50_000, 600_000, 1_000],
  );
});
