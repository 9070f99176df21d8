/** Connections whose bytes the gateway does not read: chosen by the name of their handshake, with TLS untouched or ended here. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { connect, createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { createManualClock } from '@moat/testkit';
import type { Arrival, StreamAcceptor } from '@moat/core';
import type { RouteSpec } from '../../src/routes/snapshot.ts';
import { EdgeUnderTest, HOST } from '../edge-under-test.ts';

/** A service that says what it got, in capitals, and ends when its client has. */
function shout(socket: Socket): void {
  socket.on('data', (chunk: Buffer) => socket.write(chunk.toString('latin1').toUpperCase()));
  socket.on('end', () => socket.end('BYE'));
  socket.on('error', () => undefined);
}

let tls: Server;
let tcp: Server;
let certificate = '';
before(async () => {
  // Any pair will do, as long as it is not the gateway's.
  await using other = await EdgeUnderTest.start();
  const pair = await other.authority.certificateFor('service.localhost');
  certificate = pair?.certificate ?? '';
  tls = createTlsServer({ cert: pair?.certificate, key: pair?.key, allowHalfOpen: true }, shout).listen(0, '127.0.0.1');
  tcp = createServer({ allowHalfOpen: true }, shout).listen(0, '127.0.0.1');
  await Promise.all([once(tls, 'listening'), once(tcp, 'listening')]);
});
after(() => {
  tls.close();
  tcp.close();
});

const portOf = (server: Server): number => (server.address() as { port: number }).port;

/** A member that carries streams to `server`, as its connector does. */
function leadingTo(server: () => Server, arrivals: (Arrival | undefined)[] = []): StreamAcceptor {
  return (stream) => {
    arrivals.push(stream.arrival);
    const socket = connectTcp({ host: '127.0.0.1', port: portOf(server()), allowHalfOpen: true });
    stream.listen({
      onHead: () => undefined,
      onData: (chunk) => void (socket.write(Buffer.from(chunk)) || stream.pause()),
      onEnd: () => void socket.end(),
      onDrain: () => void socket.resume(),
      onClose: (code) => void (code === undefined ? undefined : socket.destroy()),
    });
    socket.once('connect', () => stream.writeHead({ connected: true }));
    socket.on('drain', () => stream.resume());
    socket.on('data', (chunk: Buffer) => void (stream.write(chunk) || socket.pause()));
    socket.on('end', () => stream.end());
    socket.on('error', () => stream.reset('SERVICE_RESET'));
  };
}

function route(opaque: 'passthrough' | 'terminated' | 'port', members: readonly string[] = ['m1']): RouteSpec {
  return { host: HOST, deployment: 'd', service: 'web', members, opaque };
}

async function passing(members: Readonly<Record<string, StreamAcceptor>>): Promise<EdgeUnderTest> {
  const edge = await EdgeUnderTest.start();
  for (const [peer, accept] of Object.entries(members)) edge.links.add(peer, accept);
  edge.route(route('passthrough', Object.keys(members)));
  return edge;
}

/** A client that believes the service's certificate, and nobody else's. */
async function trusting(edge: EdgeUnderTest, servername: string = HOST): Promise<TLSSocket> {
  const socket = connect({
    host: '127.0.0.1',
    port: edge.edge.httpsPort,
    servername,
    rejectUnauthorized: false,
    allowHalfOpen: true,
  } as object);
  await once(socket, 'secureConnect');
  assert.match(
    certificate.replaceAll(/\s/g, ''),
    new RegExp(socket.getPeerCertificate().raw.toString('base64').slice(0, 40).replaceAll('+', '\\+')),
  );
  return socket;
}

/** Resolves when the connection is reset. */
function brokenOff(client: Socket): Promise<void> {
  return new Promise((resolve) => {
    client.on('error', () => undefined);
    client.once('close', () => resolve());
    client.resume();
  });
}

async function rest(socket: Socket): Promise<string> {
  let text = '';
  for await (const chunk of socket) text += (chunk as Buffer).toString('latin1');
  return text;
}

test('a name that is passed through is answered by its service, under the service’s certificate, half-close included', async () => {
  const arrivals: (Arrival | undefined)[] = [];
  await using edge = await passing({ m1: leadingTo(() => tls, arrivals) });
  const client = await trusting(edge);
  client.write('hello ');
  client.end('world');
  assert.equal(await rest(client), 'HELLO WORLDBYE');
  const line = await edge.logged(({ message }) => message === 'connection');
  assert.deepEqual(
    [line['host'], line['deployment'], line['service'], line['peer'], line['code']],
    [HOST, 'd', 'web', 'm1', undefined],
  );
  assert.ok(Number(line['bytesIn']) > 300 && Number(line['bytesOut']) > 300 && Number(line['durationMs']) >= 0);
  assert.deepEqual(arrivals[0]?.server, { host: '127.0.0.1', port: edge.edge.httpsPort });
  assert.equal(arrivals[0]?.servername, HOST);
  assert.equal(arrivals[0]?.client?.host, '127.0.0.1');
  assert.deepEqual(edge.served, [HOST]);
});

test('capitals and a final dot are the same name', async () => {
  await using edge = await passing({ m1: leadingTo(() => tls) });
  for (const name of ['SHOP.localhost', 'shop.localhost.']) (await trusting(edge, name)).destroy();
});

test('the handshake may come byte by byte', async () => {
  await using edge = await passing({ m1: leadingTo(() => tls) });
  const client = connect({ servername: HOST, rejectUnauthorized: false, socket: dripping(edge.edge.httpsPort) });
  await once(client, 'secureConnect');
  client.end('slow');
  assert.equal(await rest(client), 'SLOWBYE');
});

/** A socket that writes one byte a segment. */
function dripping(port: number): Socket {
  const socket = connectTcp({ host: '127.0.0.1', port, noDelay: true });
  const write = socket._write.bind(socket);
  socket._write = (chunk: Buffer, encoding, done) => {
    let at = 0;
    const next = (error?: Error | null): void => {
      if (error || at >= chunk.length) return done(error);
      at += 1;
      write(chunk.subarray(at - 1, at), encoding, next);
    };
    next();
  };
  socket._writev = null as never;
  return socket;
}

test('many bytes both ways at once, within one window each', async () => {
  await using edge = await passing({ m1: leadingTo(() => tls) });
  const client = await trusting(edge);
  const whole = Buffer.alloc(8 * 1024 * 1024, 'ab');
  const all = rest(client);
  client.end(whole);
  const got = await all;
  assert.equal(got.length, whole.length + 3);
  assert.ok(got.startsWith('ABAB') && got.endsWith('ABBYE'));
  assert.ok(edge.links.highest <= 512 * 1024, `${edge.links.highest}`);
});

test('the next member is tried where one does not have the service', async () => {
  const refusing: StreamAcceptor = (stream) => {
    stream.listen({
      onHead: () => undefined,
      onData: () => undefined,
      onEnd: () => undefined,
      onDrain: () => undefined,
      onClose: () => undefined,
    });
    stream.reset('SERVICE_UNREACHABLE');
  };
  await using edge = await passing({ m1: refusing, m2: leadingTo(() => tls) });
  for (let i = 0; i < 4; i++) {
    const client = await trusting(edge);
    client.end('x');
    assert.equal(await rest(client), 'XBYE');
  }
  await using none = await passing({ m1: refusing });
  const [error] = (await once(
    connect({ host: '127.0.0.1', port: none.edge.httpsPort, servername: HOST }),
    'error',
  )) as [NodeJS.ErrnoException];
  assert.match(error.code ?? '', /ALERT_INTERNAL_ERROR/);
  assert.equal((await none.logged(({ message }) => message === 'connection'))['code'], 'SERVICE_UNREACHABLE');
});

test('no member at all ends the handshake with an alert', async () => {
  await using edge = await passing({});
  const [error] = (await once(
    connect({ host: '127.0.0.1', port: edge.edge.httpsPort, servername: HOST }),
    'error',
  )) as [NodeJS.ErrnoException];
  assert.match(error.code ?? '', /ALERT_INTERNAL_ERROR/);
  assert.equal((await edge.logged(({ message }) => message === 'connection'))['code'], 'NO_MEMBER_CONNECTED');
});

test('a name with a port of its own is nobody’s on this one', async () => {
  await using edge = await passing({ m1: leadingTo(() => tls) });
  edge.route(route('port'));
  const [error] = (await once(
    connect({ host: '127.0.0.1', port: edge.edge.httpsPort, servername: HOST }),
    'error',
  )) as [NodeJS.ErrnoException];
  assert.match(error.code ?? '', /UNRECOGNIZED_NAME/);
});

test('where the gateway ends TLS the service gets what was inside, and the client the protocol it asks for', async () => {
  await using edge = await passing({ m1: leadingTo(() => tcp) });
  edge.route(route('terminated'));
  for (const [asked, got] of [
    [['postgresql'], 'postgresql'],
    [['h2', 'http/1.1'], 'http/1.1'],
    [undefined, false],
  ] as const) {
    const client = connect({
      host: '127.0.0.1',
      port: edge.edge.httpsPort,
      servername: HOST,
      ca: edge.ca,
      ...(asked === undefined ? {} : { ALPNProtocols: [...asked] }),
      ...({ allowHalfOpen: true } as object),
    });
    await once(client, 'secureConnect');
    assert.equal(client.authorized, true);
    assert.equal(client.alpnProtocol, got);
    client.end('plain');
    assert.equal(await rest(client), 'PLAINBYE');
  }
});

test('a withdrawn name ends its connections; a connection from before asks in vain', async () => {
  await using edge = await passing({ m1: leadingTo(() => tls) });
  const client = await trusting(edge);
  client.write('x');
  await once(client, 'data');
  const broken = brokenOff(client);
  edge.route({ host: 'other.localhost', deployment: 'd', service: 'web', members: ['m1'] });
  await broken;
  assert.equal((await edge.logged(({ message }) => message === 'connection'))['code'], 'NAME_WITHDRAWN');
});

test('connections of one deployment are bounded', async () => {
  await using edge = await EdgeUnderTest.start({ limits: { connectionsPerDeployment: 2 } });
  edge.links.add(
    'm1',
    leadingTo(() => tls),
  );
  edge.route(route('passthrough'));
  const clients = [await trusting(edge), await trusting(edge)];
  const third = connect({ host: '127.0.0.1', port: edge.edge.httpsPort, servername: HOST });
  await once(third, 'error');
  assert.equal((await edge.logged(({ message }) => message === 'connection'))['code'], 'DEPLOYMENT_BUSY');
  assert.equal(edge.edge.tunnels.running, 2);
  for (const client of clients) {
    client.end();
    await rest(client);
  }
  (await trusting(edge)).destroy();
});

test('a connection on which nothing moves is given up', async () => {
  const clock = createManualClock(Date.now());
  await using edge = await EdgeUnderTest.start({ clock, limits: { tunnelIdleMs: 60_000 } });
  edge.links.add(
    'm1',
    leadingTo(() => tls),
  );
  edge.route(route('passthrough'));
  const client = await trusting(edge);
  const broken = brokenOff(client);
  for (let i = 0; i < 55; i++) clock.advance(1_000);
  client.write('x');
  assert.equal(String((await once(client, 'data'))[0]), 'X');
  for (let i = 0; i < 55; i++) clock.advance(1_000);
  assert.equal(edge.edge.tunnels.running, 1);
  for (let i = 0; i < 10; i++) clock.advance(1_000);
  await broken;
  assert.equal((await edge.logged(({ message }) => message === 'connection'))['code'], 'CONNECTION_IDLE');
});
