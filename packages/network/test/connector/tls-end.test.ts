/** The end of TLS on the machine of the service: the right name alone, in the clear never. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex, PassThrough } from 'node:stream';
import { after, before, test } from 'node:test';
import { connect, createSecureContext, type SecureContext, type TLSSocket } from 'node:tls';
import { silentLogger, systemClock, type Clock, type LinkStream } from '@moat/core';
import { freePort } from '@moat/testkit';
import { StreamDuplex } from '../../src/connector/stream-duplex.ts';
import { serveTls, type TlsEnds } from '../../src/connector/tls-end.ts';
import { createStreamPair } from '../../src/stream-pair.ts';

const NAME = 'shop.example';
let context: SecureContext;
let service: Server;
let port = 0;
const seen: string[] = [];

before(async () => {
  const directory = mkdtempSync(join(tmpdir(), 'moat-tls-end-'));
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  execFileSync(
    'openssl',
    ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'].concat([
      '-subj',
      `/CN=${NAME}`,
      '-addext',
      `subjectAltName=DNS:${NAME}`,
      '-keyout',
      key,
      '-out',
      cert,
    ]),
    { stdio: 'ignore' },
  );
  context = createSecureContext({ key: readFileSync(key), cert: readFileSync(cert) });
  rmSync(directory, { recursive: true });
  service = createServer({ allowHalfOpen: true }, (socket: Socket) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
    socket.on('end', () => {
      seen.push(text);
      socket.end(`got ${text.length}`);
    });
    socket.on('error', () => undefined);
  }).listen(0, '127.0.0.1');
  await once(service, 'listening');
  port = (service.address() as { port: number }).port;
});
after(() => service.close());

const ENDS: TlsEnds = {
  contextFor: ({ name, service: asked }) => Promise.resolve(name === NAME && asked === 'web' ? context : undefined),
  proofFor: () => undefined,
};

interface Client {
  readonly stream: LinkStream;
  readonly duplex: StreamDuplex;
  readonly closed: Promise<void>;
}

/** A stream as a gateway opens it, with the name it says. */
function opened(servername: string | undefined, target: number = port, clock: Clock = systemClock): Client {
  const request = { deployment: 'd', service: 'web', kind: 'tcp' } as const;
  const pair = createStreamPair({ request, opener: 'gateway', acceptor: 'member' });
  const accepted = Object.assign(pair.accepted, { arrival: servername === undefined ? undefined : { servername } });
  const duplex = new StreamDuplex(pair.opened);
  duplex.on('error', () => undefined);
  pair.opened.listen(duplex.events);
  const closed = new Promise<void>((resolve) => {
    const deps = { clock, isOwnSocket: () => false, logger: silentLogger, ends: ENDS };
    serveTls(deps, accepted, { target: { host: '127.0.0.1', port: target }, protocol: 'http/1.1' }, resolve);
  });
  return { stream: pair.opened, duplex, closed };
}

function handshake({ duplex }: Client, servername: string, ALPNProtocols: string[] = ['http/1.1']): TLSSocket {
  return connect({
    socket: duplex,
    servername,
    ALPNProtocols,
    rejectUnauthorized: false,
    ...({ allowHalfOpen: true } as object),
  });
}

test('what is inside reaches the service, and its answer the client, half-close included', async () => {
  const client = opened(NAME);
  const socket = handshake(client, NAME);
  await once(socket, 'secureConnect');
  assert.equal(socket.alpnProtocol, 'http/1.1');
  assert.equal(socket.getPeerCertificate().subject.CN, NAME);
  socket.end(Buffer.alloc(2_000_000, 'x'));
  let answer = '';
  for await (const chunk of socket) answer += String(chunk);
  assert.equal(answer, 'got 2000000');
  await client.closed;
});

test('another name than the gateway said, no name of ours, and a proof without an order end with an alert', async () => {
  const before = seen.length;
  for (const [said, asked, protocols] of [
    ['other.example', NAME, ['http/1.1']],
    [undefined, NAME, ['http/1.1']],
    ['other.example', 'other.example', ['http/1.1']],
    [NAME, NAME, ['acme-tls/1']],
  ] as const) {
    const socket = handshake(opened(said), asked, [...protocols]);
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    assert.match(String(error.code), /UNRECOGNIZED_NAME/, `${said} ${asked}`);
  }
  assert.equal(seen.length, before, 'the service has seen nothing of it');
});

test(
  'a client that leaves before or in the middle of the handshake is not waited for',
  { timeout: 5_000 },
  async () => {
    const written = new PassThrough();
    connect({ socket: Duplex.from({ readable: new PassThrough(), writable: written }), servername: NAME });
    const [hello] = (await once(written, 'data')) as [Buffer];
    const never: Clock = { ...systemClock, after: () => ({ cancel: () => undefined }) };
    const atOnce = opened(NAME, port, never);
    atOnce.duplex.resume().end(hello);
    await Promise.all([atOnce.closed, once(atOnce.duplex, 'end')]);
    const answered = opened(NAME, port, never);
    answered.duplex.write(hello);
    await once(answered.duplex, 'data');
    answered.duplex.end();
    await Promise.all([answered.closed, once(answered.duplex, 'end')]);
  },
);

test('what is no TLS never reaches the service', async () => {
  const before = seen.length;
  const client = opened(NAME);
  client.duplex.write('GET / HTTP/1.1\r\n\r\n');
  const [alert] = (await once(client.duplex, 'data')) as [Buffer];
  assert.equal(alert.toString('hex'), '1503030002020a');
  client.duplex.end();
  await client.closed;
  assert.equal(seen.length, before);
});

test('a service that is not there is said before anything is answered, so that another member can', async () => {
  const client = opened(NAME, await freePort());
  const socket = handshake(client, NAME);
  socket.on('error', () => undefined);
  const broken = new Promise<void>((resolve) => void client.duplex.once('close', resolve));
  await client.closed;
  await broken;
});
