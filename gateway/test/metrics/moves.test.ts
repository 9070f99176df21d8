/** Every metric of the reference is there and moves: each is seen with two values at least while a gateway lives. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { connect as connectTcp } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { WebSocket } from 'ws';
import { createGatewayClient } from '@moat/admin-api';
import { silentLogger, systemClock, type StreamAcceptor } from '@moat/core';
import { openLocalAuthority } from '../../src/certificates/local-ca.ts';
import type { GatewayConfig } from '../../src/config.ts';
import { createGateway } from '../../src/create-gateway.ts';
import { refusal } from '../../src/errors.ts';
import { canShareListeners } from '../../src/workers/shares.ts';
import { answering, member, resetting } from '../member.ts';
import { Shop } from '../shop.ts';
import { Node, gatewayPeer, home } from '../whole-gateway.ts';

const workers = canShareListeners() ? 2 : 1;
/** Says always the same. */
const STILL: ReadonlySet<string> = new Set([
  'moat_build_info',
  ...(workers === 1 ? ['moat_worker_restarts_total'] : []),
]);

/** Whether what takes connections says nothing on them. */
let isQuiet = false;

/** Answers, breaks off, takes a WebSocket, or a connection on which it says something when it has heard some. */
const behind: StreamAcceptor = (stream) => {
  const { kind } = stream.request;
  const { target, upgrade, fields = [], more = [] } = stream.requestHead ?? {};
  if (kind === 'tcp') {
    return member((raw) => {
      raw.writeHead({ connected: true });
      return { onData: () => void (isQuiet || raw.write(Buffer.from('this is no TLS'))) };
    })(stream);
  }
  if (target === '/broken') return resetting('SERVICE_UNREACHABLE')(stream);
  if (upgrade === undefined) return answering('hello')(stream);
  const key = [...fields, ...more].find(([name]) => name === 'sec-websocket-key')?.[1] ?? '';
  const accept = createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  return member((socket) => {
    socket.writeHead({ status: 101, fields: [['sec-websocket-accept', accept]] });
    return undefined;
  })(stream);
};

test('every metric moves', async () => {
  await using place = await home(`workers: ${workers}\n`);
  const authority = await openLocalAuthority({ clock: systemClock }, { directory: place.path, domain: 'localhost' });
  const pair = (await authority.certificateFor('shop.localhost')) ?? assert.fail();
  const files = { certificate: join(place.path, 'chain.pem'), key: join(place.path, 'chain.key') };
  await writeFile(files.certificate, pair.certificate);
  await writeFile(files.key, pair.key, { mode: 0o600 });
  const config: GatewayConfig = place.config;
  let file: () => GatewayConfig = () => config;
  await using node = new Node(behind);
  await node.start();
  const shop = new Shop('one', { web1: node.identity, gateway: await gatewayPeer(config) });
  await using gateway = createGateway(
    {
      clock: systemClock,
      logger: silentLogger,
      logLevel: 'silent',
      readConfig: () => Promise.resolve().then(() => file()),
      onStopAsked: () => undefined,
      onRestartAsked: () => undefined,
    },
    { ...config, tls: { files: [files] } },
  );
  file = () => ({ ...config, tls: { files: [files] } });
  await gateway.start({ signal: AbortSignal.timeout(30_000) });
  const { adminSocket: socketPath, httpsPort: port } = gateway.addresses;
  const client = createGatewayClient({ socketPath });

  const seen = new Map<string, Set<string>>();
  const types = new Map<string, string>();
  /** Remembers what every sample says now. */
  const look = async (): Promise<void> => {
    const sent = httpRequest({ socketPath, path: '/metrics', agent: false });
    sent.end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    let text = '';
    for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) text += chunk;
    for (const [, name = '', type = ''] of text.matchAll(/^# TYPE (moat_\w+) (\w+)$/gm)) types.set(name, type);
    for (const [, name = '', labels = '', value = ''] of text.matchAll(/^(moat_\w+?)(\{.*\})? (\S+)$/gm)) {
      const key = `${name}${labels}`;
      seen.set(key, (seen.get(key) ?? new Set(['0'])).add(value));
    }
  };
  const ask = async (path: string, body?: string): Promise<number> => {
    const options = { host: '127.0.0.1', port, servername: 'shop.localhost', rejectUnauthorized: false, agent: false };
    const method = body === undefined ? 'GET' : 'POST';
    const sent = httpsRequest({ ...options, method, path, headers: { host: 'shop.localhost' } });
    sent.end(body);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    response.resume();
    await once(response, 'end');
    return response.statusCode ?? 0;
  };

  await look();
  const version = shop.next(shop.first, {
    publish: [shop.line('shop'), shop.line('through', { tls: 'passthrough' })],
  });
  assert.equal((await node.show(gateway.addresses, shop.bundle(version))).ok, true);
  assert.equal(await ask('/', 'a body'), 200);
  assert.equal(await ask('/broken'), 502);
  const options = { host: '127.0.0.1', port, rejectUnauthorized: false };
  const asShop = { servername: 'shop.localhost', headers: { host: 'shop.localhost' }, rejectUnauthorized: false };
  const webSocket = new WebSocket(`wss://127.0.0.1:${port}/`, asShop);
  await once(webSocket, 'open');
  // The member's answer is no TLS, which ends it; one that says nothing yet stays.
  const through = connectTls({ ...options, servername: 'through.localhost' });
  await once(through, 'error');
  const stranger = connectTls({ ...options, servername: 'nobody.localhost' });
  await once(stranger, 'error');
  await look();
  const held = connectTcp(port, '127.0.0.1');
  held.on('error', () => undefined);
  await once(held, 'connect');
  isQuiet = true;
  const hello = connectTls({ ...options, servername: 'through.localhost', minVersion: 'TLSv1.3' });
  hello.on('error', () => undefined);
  const running = async (): Promise<boolean> => (await client.status()).tunnels > 0;
  for (const until = Date.now() + 5_000; !(await running()) && Date.now() < until;) await look();
  await look();
  hello.destroy();
  webSocket.terminate();
  file = () => {
    throw refusal('GATEWAY_CONFIG_INVALID', 'gateway.yaml:1:1 wrong');
  };
  await assert.rejects(client.reload());
  await look();
  file = () => ({ ...config, tls: { files: [files] }, limits: { ...config.limits, connectionsPerClient: 1 } });
  await client.reload();
  const more = Array.from({ length: 8 }, () => connectTcp(port, '127.0.0.1').on('error', () => undefined));
  await Promise.race(more.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
  for (const socket of [...more, held]) socket.destroy();
  await client.suspend({ subject: 'shop', status: 451 });
  await look();
  const [first] = (await client.status()).workers;
  if (first !== undefined) {
    process.kill(first.pid, 'SIGKILL');
    const replaced = async (): Promise<boolean> => (await client.status()).workers.some(({ restarts }) => restarts > 0);
    for (const until = Date.now() + 10_000; !(await replaced()) && Date.now() < until;) await look();
  }
  await node.overlay.stop();
  await look();
  void gateway.drain(1_000);
  await look();

  const reference = readFileSync(new URL('../../../docs/reference/metrics.md', import.meta.url), 'utf8');
  const named = [...reference.matchAll(/^\| `(moat_\w+)`/gm)].map(([, name = '']) => name);
  assert.deepEqual(named.toSorted(), [...types.keys()].toSorted());
  const moves = (name: string): boolean =>
    [...seen].some(([sample, values]) => values.size > 1 && sample.replace(/\{.*/, '').startsWith(name));
  assert.deepEqual(
    named.filter((name) => !STILL.has(name) && !moves(name)),
    [],
  );
  const moved = (sample: string): string[] => [...(seen.get(sample) ?? [])];
  for (const sample of ['moat_websockets', 'moat_http_requests_in_flight', 'moat_tunnels', 'moat_ready']) {
    assert.ok(moved(sample).includes('0') && moved(sample).includes('1'), `${sample}: ${moved(sample).join(' ')}`);
  }
  assert.ok(Number(moved('moat_tunnel_response_bytes_total').at(-1)) >= 14);
});
