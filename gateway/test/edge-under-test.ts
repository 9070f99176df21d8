/** The whole request path on a real port, with a local authority and links in memory. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type TLSSocket } from 'node:tls';
import { connect as connectTcp, type Socket } from 'node:net';
import { systemClock, type Clock, type Logger, type PeerId, type StreamAcceptor } from '@moat/core';
import { SecureContexts, type CertificateSource } from '../src/certificates/contexts.ts';
import { openLocalAuthority } from '../src/certificates/local-ca.ts';
import { parseGatewayConfig, type GatewayLimits } from '../src/config.ts';
import { PublicEdge } from '../src/request/public-edge.ts';
import { Routes, type RouteSpec } from '../src/routes/snapshot.ts';
import { Answered } from '../src/sign-in/answered.ts';
import { MemoryLinks } from './memory-links.ts';

export const DOMAIN = 'localhost';
export const HOST = 'shop.localhost';

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

export interface EdgeOptions {
  readonly limits?: Partial<GatewayLimits>;
  readonly clock?: Clock;
  /** @defaultValue true */
  readonly http2?: boolean;
  readonly proxyFrom?: readonly string[];
}

export class EdgeUnderTest implements AsyncDisposable {
  readonly links: MemoryLinks = new MemoryLinks();
  readonly routes: Routes;
  readonly log: LogLine[] = [];
  readonly served: string[] = [];
  /** Runs once, right after a request has found its route. */
  onceRouted: (() => void) | undefined;
  readonly #waiting = new Set<() => void>();
  readonly #stack: AsyncDisposableStack;
  edge!: PublicEdge;
  authority!: CertificateSource;
  ca = '';
  #ids = 0;

  private constructor(stack: AsyncDisposableStack, clock: Clock) {
    this.#stack = stack;
    this.routes = new Routes({ now: () => clock.now(), random: Math.random });
  }

  static async start(options: EdgeOptions = {}): Promise<EdgeUnderTest> {
    await using opening = new AsyncDisposableStack();
    const directory = await mkdtemp(join(tmpdir(), 'moat-edge-'));
    opening.defer(() => rm(directory, { recursive: true }));
    const clock = options.clock ?? systemClock;
    const authority = await openLocalAuthority({ clock: systemClock }, { directory, domain: DOMAIN });
    const { limits } = parseGatewayConfig(
      `version: 1\ndomain: ${DOMAIN}\npublishers: open\ntls: local\n`,
      'gateway.yaml',
      {},
    );
    const started = new EdgeUnderTest(new AsyncDisposableStack(), clock);
    const contexts = new SecureContexts({
      clock: systemClock,
      source: authority,
      knows: (host) => host === DOMAIN || started.routes.current.endsTls(host),
      onMissing: () => undefined,
    });
    started.ca = authority.certificate;
    started.authority = authority;
    started.edge = new PublicEdge(
      {
        clock,
        logger: started.#logger(),
        links: started.links,
        contexts,
        secret: Buffer.alloc(32, 7),
        answered: new Answered(clock),
        newId: () => `id-${(started.#ids += 1)}`,
        snapshot: () => {
          if (started.onceRouted) queueMicrotask(started.onceRouted);
          started.onceRouted = undefined;
          return started.routes.current;
        },
        identity: () => ({ domain: DOMAIN, peers: ['/ip4/127.0.0.1/tcp/1/p2p/x'], box: 'x25519:y' }),
        onServed: (host) => started.served.push(host),
      },
      {
        domain: DOMAIN,
        limits: { ...limits, ...options.limits },
        https: { host: '127.0.0.1', port: 0, proxyFrom: options.proxyFrom },
        http: { host: '127.0.0.1', port: 0 },
        publicPort: undefined,
        ...(options.http2 === undefined ? {} : { http2: options.http2 }),
        privateIssuers: true,
      },
    );
    await started.edge.start({ signal: AbortSignal.timeout(5_000) });
    opening.defer(() => started.edge.stop());
    started.#stack.use(opening.move());
    return started;
  }

  /** Publishes `HOST` with these members and holds the other names. */
  publish(members: Readonly<Record<PeerId, StreamAcceptor>>, held: readonly string[] = ['held.localhost']): void {
    for (const [peer, accept] of Object.entries(members)) this.links.add(peer, accept);
    this.route({ host: HOST, deployment: 'd', service: 'web', members: Object.keys(members) }, held);
  }

  route(spec: RouteSpec, held: readonly string[] = []): void {
    this.edge.withdraw(this.routes.swap([spec], [spec.host, ...held]));
  }

  /** The first log line that `matches`, also one that is written later. */
  logged(matches: (line: LogLine) => boolean): Promise<LogLine> {
    return new Promise((resolve) => {
      const look = (): void => {
        const line = this.log.find(matches);
        if (!line) return;
        this.#waiting.delete(look);
        resolve(line);
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** A TLS connection as a browser makes it. */
  connect(servername: string = HOST, protocols: readonly string[] = ['http/1.1']): Promise<TLSSocket> {
    return new Promise((resolve, reject) => {
      const socket = connect({
        host: '127.0.0.1',
        port: this.edge.httpsPort,
        ca: this.ca,
        servername,
        ALPNProtocols: [...protocols],
      });
      socket.once('secureConnect', () => {
        socket.off('error', reject);
        socket.on('error', () => undefined);
        resolve(socket);
      });
      socket.once('error', reject);
    });
  }

  connectPlain(): Promise<Socket> {
    return new Promise((resolve, reject) => {
      const socket = connectTcp({ host: '127.0.0.1', port: this.edge.httpPort ?? 0 }, () => resolve(socket));
      socket.once('error', reject);
    });
  }

  /** Sends bytes and reads until the other side closes. */
  async raw(bytes: string | Uint8Array, servername: string = HOST): Promise<string> {
    const socket = await this.connect(servername);
    const closed = readAll(socket);
    socket.write(bytes);
    return closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync();
  }

  #logger(): Logger {
    const at =
      (level: string) =>
      (fields: object, message: string): void => {
        this.log.push({ ...fields, level, message });
        for (const look of this.#waiting) look();
      };
    const logger: Logger = {
      child: () => logger,
      trace: at('trace'),
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
    };
    return logger;
  }
}

/** Everything until the connection closes, as latin1. */
export function readAll(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (chunk: string) => (text += chunk));
    socket.once('close', () => resolve(text));
    socket.on('error', () => undefined);
    socket.once('end', () => socket.end());
  });
}
