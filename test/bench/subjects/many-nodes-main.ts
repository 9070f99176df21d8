/**
 * One gateway and its nodes as two processes: `node many-nodes-main.ts gateway|nodes '{…}'`. The gateway is the real request
 * path with links over TLS-PSK sockets; every node is a link of its own, but all of them live in one process and answer
 * from memory, as a hundred agents would not fit on one machine. Tickets, overlay and publications are left out: they
 * are on the path of no request.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { createSecureContext } from 'node:tls';
import { silentLogger, systemClock, type LinkStream, type PeerId, type StreamEvents } from '@moat/core';
import { TLS_OPTIONS } from '../../../gateway/src/certificates/contexts.ts';
import { parseGatewayConfig } from '../../../gateway/src/config.ts';
import { PublicEdge } from '../../../gateway/src/request/public-edge.ts';
import { Routes } from '../../../gateway/src/routes/snapshot.ts';
import { Session } from '../../../packages/link/src/session.ts';
import { acceptTls, dialTls } from '../../../packages/link/src/transport.tls.ts';

interface Settings {
  readonly host: string;
  readonly hostname: string;
  readonly port: number;
  readonly linkPort: number;
  readonly nodes: number;
  readonly certificateFile: string;
  readonly keyFile: string;
  readonly bodyBytes: number;
}

const PSK = Buffer.alloc(32, 7);
const DEPLOYMENT = 'q7f3aaaaaaaaaaaaaaaaaaaaaa';
const UNLIMITED = { opens: { perSecond: 1e9, burst: 1e9 } };
const nothing: StreamEvents = {
  onHead: () => undefined,
  onData: () => undefined,
  onEnd: () => undefined,
  onDrain: () => undefined,
  onClose: () => undefined,
};

const settings = JSON.parse(process.argv[3] ?? '{}') as Settings;
if (process.argv[2] === 'gateway') await runGateway();
else await runNodes();
process.stdout.write('ready\n');

async function runGateway(): Promise<void> {
  const { host, hostname, port, linkPort, nodes, certificateFile, keyFile } = settings;
  const sessions = new Map<PeerId, Session>();
  const server = createServer({ noDelay: true }, (socket) => {
    void (async () => {
      await once(socket, 'readable');
      const peer = peerOf((socket.read(1) as Buffer).readUInt8());
      const channel = await acceptTls(socket, { identity: 'bench', psk: PSK, peer });
      const deps = { channel, clock: systemClock, logger: silentLogger, accept: refuse };
      sessions.set(peer, new Session(deps, { peer, path: 'direct', dialer: false }));
    })();
  });
  server.listen(linkPort, host);
  const routes = new Routes({ now: () => systemClock.now(), random: Math.random });
  const members = Array.from({ length: nodes }, (_, i) => peerOf(i));
  routes.swap([{ host: hostname, deployment: DEPLOYMENT, service: 'web', members }], [hostname]);
  const [cert, key] = [readFileSync(certificateFile), readFileSync(keyFile)];
  const context = createSecureContext({ ...TLS_OPTIONS, cert, key });
  const { limits } = parseGatewayConfig('version: 1\ndomain: localhost\ntls: local\n', 'gateway.yaml', {});
  let ids = 0;
  const edge = new PublicEdge(
    {
      clock: systemClock,
      logger: silentLogger,
      links: { get: (peer) => sessions.get(peer), connect: () => Promise.reject(new Error('nobody is asked')) },
      contexts: { get: () => Promise.resolve(context) },
      secret: Buffer.alloc(32, 7),
      answered: { epoch: Buffer.alloc(16), take: () => 'first' },
      newId: () => String(++ids),
      snapshot: () => routes.current,
      identity: () => ({ domain: 'localhost', peers: [], box: '' }),
      onServed: () => undefined,
    },
    { domain: 'localhost', limits, https: { host, port }, http: undefined, publicPort: undefined },
  );
  await edge.start({ signal: AbortSignal.timeout(10_000) });
}

async function runNodes(): Promise<void> {
  const { host, linkPort, nodes, bodyBytes } = settings;
  const body = Buffer.alloc(bodyBytes, 'x');
  const accept = (stream: LinkStream): void => {
    stream.listen(nothing);
    const fields = [
      ['content-type', 'application/octet-stream'],
      ['content-length', String(bodyBytes)],
    ] as const;
    stream.writeHead({ status: 200, fields: [...fields] });
    stream.write(body);
    stream.end();
  };
  const sessions: Session[] = [];
  for (let i = 0; i < nodes; i++) {
    const channel = await dialTls({
      host,
      port: linkPort,
      preambles: [Buffer.of(i)],
      ticket: { identity: 'bench', psk: PSK, peer: 'gateway' },
      signal: AbortSignal.timeout(10_000),
    });
    const deps = { channel, clock: systemClock, logger: silentLogger, accept };
    sessions.push(new Session(deps, { peer: 'gateway', path: 'direct', dialer: true, limits: UNLIMITED }));
  }
}

function refuse(stream: LinkStream): void {
  stream.reset('SERVICE_UNKNOWN');
}

function peerOf(index: number): PeerId {
  return `node-${index}`;
}
