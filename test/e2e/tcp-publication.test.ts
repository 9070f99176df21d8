/** TCP services in public: on a port of their own, and by the name of a TLS handshake, at a gateway of two workers. */
import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { connect, createServer as createTlsServer, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { freePort } from '@moat/testkit';
import { eventually } from './machine.ts';
import { World } from './world.ts';

const run = promisify(execFile);
const world = new World();
/** Counts what it gets until its client has ended, and says so then. */
let counter: Server;
let secure: Server;
/** Answers with all it got, in hex, once its client has ended. */
let mirror: Server;
let port = 0;
let tls = { cert: '', key: '' };

before(async () => {
  counter = createServer({ allowHalfOpen: true }, count).listen(0, '127.0.0.1');
  await once(counter, 'listening');
  mirror = createServer({ allowHalfOpen: true }, reflect).listen(0, '127.0.0.1');
  await once(mirror, 'listening');
  port = await freePort();
  await world.startGateway('open', { workers: 2, tcpPorts: `${port}-${port}` });
  const { machine } = world.gateway;
  execFileSync('openssl', [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
    '-subj',
    '/CN=secure.localhost',
    '-addext',
    'subjectAltName=DNS:secure.localhost',
    '-keyout',
    machine.path('own.key'),
    '-out',
    machine.path('own.pem'),
  ]);
  tls = { cert: readFileSync(machine.path('own.pem'), 'utf8'), key: readFileSync(machine.path('own.key'), 'utf8') };
  secure = createTlsServer({ ...tls, allowHalfOpen: true }, count).listen(0, '127.0.0.1');
  await once(secure, 'listening');
  const [ofCounter, ofSecure, ofMirror] = [portOf(counter), portOf(secure), portOf(mirror)];
  const gateway = world.gateway.pin;
  await world.grow({
    name: 'shop',
    members: {
      owner: { keeper: true },
      'db-1': { expose: [`${ofCounter},public`, `${ofSecure},public`, `${ofMirror},public`] },
    },
    services: {
      counter: { on: ['db-1'], port: 7000, target: `127.0.0.1:${ofCounter}` },
      secure: { on: ['db-1'], port: 7001, target: `127.0.0.1:${ofSecure}` },
      told: { on: ['db-1'], port: 7002, target: `127.0.0.1:${ofMirror}`, proxyProtocol: 'v2' },
    },
    access: [{ from: ['owner'], to: ['told'] }],
    extraPublish: {
      raw: { gateway, service: 'counter', port },
      ended: { gateway, service: 'counter' },
      secure: { gateway, service: 'secure', tls: 'passthrough' },
      told: { gateway, service: 'told' },
    },
  });
});

after(async () => {
  await world[Symbol.asyncDispose]();
  counter?.close();
  secure?.close();
  mirror?.close();
});

function count(socket: Socket): void {
  let bytes = 0;
  socket.on('data', (chunk: Buffer) => (bytes += chunk.length));
  socket.on('end', () => socket.end(`${bytes} bytes`));
  socket.on('error', () => undefined);
}

function reflect(socket: Socket): void {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.on('end', () => socket.end(Buffer.concat(chunks).toString('hex')));
  socket.on('error', () => undefined);
}

function portOf(server: Server): number {
  return (server.address() as { port: number }).port;
}

async function said(socket: Socket, bytes: number): Promise<string> {
  socket.end(Buffer.alloc(bytes, 'x'));
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  return text;
}

async function handshake(servername: string, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({
    host: '127.0.0.1',
    port: world.gateway.port,
    servername,
    ...options,
    ...({ allowHalfOpen: true } as object),
  });
  await once(socket, 'secureConnect');
  return socket;
}

/** Links may come a moment after the publication. */
async function dial(): Promise<Socket> {
  const socket = connectTcp({ host: '127.0.0.1', port, allowHalfOpen: true });
  await once(socket, 'connect');
  return socket;
}

test('a port leads to its service, half-close included, at every worker', async () => {
  await eventually('the port is open', async () => (await said(await dial(), 1)) === '1 bytes');
  await eventually('every worker has a link', async () => {
    const answers = await Promise.all(Array.from({ length: 12 }, async () => said(await dial(), 1).catch(String)));
    return answers.every((answer) => answer === '1 bytes');
  });
  assert.equal(await said(await dial(), 20_000_000), '20000000 bytes');
  const { json } = await world.machine('db-1').ok(['status', '--json']);
  assert.match(JSON.stringify(json), new RegExp(`tcp://raw\\.localhost:${port}`));
});

test('the gateway ends TLS for a tcp service, and the client asks for its own protocol', async () => {
  const { caFile } = (await world.gateway.machine.ok(['gateway', 'status', '--json'])).json as { caFile: string };
  const client = await handshake('ended.localhost', { ca: readFileSync(caFile), ALPNProtocols: ['postgresql'] });
  assert.equal(client.alpnProtocol, 'postgresql');
  assert.equal(await said(client, 1_000_000), '1000000 bytes');
});

test('a name that is passed through meets its service’s own certificate: node and openssl', async () => {
  const client = await handshake('secure.localhost', { ca: tls.cert });
  assert.equal(client.authorized, true);
  assert.equal(await said(client, 5_000_000), '5000000 bytes');
  const openssl = run('openssl', [
    's_client',
    '-connect',
    `127.0.0.1:${world.gateway.port}`,
    '-servername',
    'secure.localhost',
    '-CAfile',
    world.gateway.machine.path('own.pem'),
    '-verify_return_error',
    '-brief',
  ]);
  openssl.child.stdin?.end('hello');
  const { stderr } = await openssl.catch((error: { stderr: string }) => error);
  assert.match(stderr, /Verification: OK/);
});

test('a service that asks for it is told whose connection it gets: in public and inside', async () => {
  const signature = '0d0a0d0a000d0a515549540a';
  const { caFile } = (await world.gateway.machine.ok(['gateway', 'status', '--json'])).json as { caFile: string };
  const client = await handshake('told.localhost', { ca: readFileSync(caFile) });
  const { localPort = 0 } = client;
  const name = Buffer.from('told.localhost').toString('hex');
  const ports = [localPort, world.gateway.port].map((each) => each.toString(16).padStart(4, '0')).join('');
  assert.equal(await said(client, 2), `${signature}2111001d7f0000017f000001${ports}02000e${name}7878`);
  const { host, port: localService } = await world.serviceAddress('owner', 'told');
  const inside = connectTcp({ host, port: localService, allowHalfOpen: true });
  await once(inside, 'connect');
  const header = await said(inside, 1);
  // Private addresses of the owner's machine and of the one that serves, then the byte itself.
  assert.match(header, new RegExp(`^${signature}2111000c0a[0-9a-f]{6}0a[0-9a-f]{6}0000${(7002).toString(16)}78$`));
});

/** What the gateway answers to raw bytes, until it closes. */
async function answerTo(pieces: readonly Uint8Array[]): Promise<string> {
  const socket = connectTcp({ host: '127.0.0.1', port: world.gateway.port, noDelay: true });
  socket.on('error', () => undefined);
  let answer = '';
  socket.on('data', (chunk: Buffer) => (answer += chunk.toString('hex')));
  await once(socket, 'connect');
  for (const piece of pieces) socket.write(piece);
  await new Promise((resolve) => socket.once('close', resolve));
  return answer;
}

test('hostile hellos end with an alert, whole names only, and nobody else is held up', async () => {
  const alert = (code: number): string => `1503030002 02${code.toString(16).padStart(2, '0')}`.replace(' ', '');
  const giant = Buffer.concat([Buffer.from('16030140000100fffc', 'hex'), Buffer.alloc(17_000)]);
  assert.equal(await answerTo([giant]), alert(50));
  assert.equal(await answerTo([Buffer.from('GET / HTTP/1.1\r\n\r\n')]), alert(10));
  const silent = connectTcp({ host: '127.0.0.1', port: world.gateway.port });
  silent.write(Buffer.from('160301', 'hex'));
  for (const servername of ['SECURE.localhost', 'secure.localhost.']) {
    const client = connect({ host: '127.0.0.1', port: world.gateway.port, servername, rejectUnauthorized: false });
    await once(client, 'secureConnect');
    assert.equal(client.getPeerCertificate().subject.CN, 'secure.localhost', servername);
    client.destroy();
  }
  for (const servername of ['secure.localhost.evil.example', 'xsecure.localhost', 'raw.localhost']) {
    const [error] = (await once(connect({ host: '127.0.0.1', port: world.gateway.port, servername }), 'error')) as [
      NodeJS.ErrnoException,
    ];
    assert.match(error.code ?? '', /UNRECOGNIZED_NAME/, servername);
  }
  silent.destroy();
});

test('what is not allowed is refused by name', async () => {
  const gateway = world.gateway.pin;
  await world.apply({ extraPublish: { raw: { gateway, service: 'counter', port: port + 1 } } });
  await eventually('the member says why', async () => {
    const { json } = await world.machine('db-1').ok(['status', '--json']);
    return JSON.stringify(json).includes('PORT_NOT_ALLOWED');
  });
  await eventually('the port is closed', async () => {
    const socket = connectTcp({ host: '127.0.0.1', port });
    const isOpen = new Promise((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    const closed = !(await isOpen);
    socket.destroy();
    return closed;
  });
});
