/** The phases of a request wired to each other, with the listeners at their beginning: one public address. */
import type { Socket } from 'node:net';
import { ACME_TLS_PROTOCOL } from '@moat/acme';
import {
  ALERT,
  type ClientHello,
  type Clock,
  type LinkStream,
  type Links,
  type Logger,
  type Service,
} from '@moat/core';
import type { ChallengeBoard } from '../certificates/challenge-board.ts';
import type { SecureContexts } from '../certificates/contexts.ts';
import type { EdgeSettings, GatewayLimits } from '../config.ts';
import { normaliseHost } from '../names/host.ts';
import { EdgeCounters, type EdgeFigures } from '../metrics/figures.ts';
import type { Route, RouteSnapshot } from '../routes/snapshot.ts';
import { PublicListener, type PublicListenerOptions } from './accept.ts';
import type { AbuseContact } from './abuse.ts';
import type { ClientAddress } from './client-request.ts';
import { createHelloPhase, endWithAlert } from './hello.ts';
import type { ConnectionOptions } from './http1-connection.ts';
import { ClientLimits } from './limits.ts';
import { Http1 } from './http1.ts';
import { Http2 } from './http2.ts';
import { serveRedirect } from './redirect.ts';
import { Orders } from './orders.ts';
import { RequestServer } from './serve.ts';
import type { RequestServerOptions } from './serving.ts';
import type { GatewayIdentity } from './self.ts';
import { TcpPorts } from './tcp-ports.ts';
import { createTlsPhase, type Greeted } from './tls.ts';
import type { AnsweredPort } from '../sign-in/door.ts';
import { TunnelServer, type TunnelCounts, type TunnelServerOptions } from './tunnels.ts';

export interface PublicEdgeDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly links: Pick<Links, 'get' | 'connect'>;
  readonly contexts: Pick<SecureContexts, 'get'>;
  /** Proofs that certificate authorities ask for; absent = none are ever shown. */
  readonly challenges?: Pick<ChallengeBoard, 'answerTo' | 'contextFor'> | undefined;
  /** The gateway's own, the same in each of its processes and after a restart. */
  readonly secret: Uint8Array;
  /** One for all processes of a gateway. */
  readonly answered: AnsweredPort;
  newId(): string;
  snapshot(): RouteSnapshot;
  identity(): GatewayIdentity;
  onServed(host: string): void;
}

export interface PublicEdgeOptions {
  readonly domain: string;
  readonly limits: GatewayLimits;
  /** Where the public reports names. */
  readonly abuse?: AbuseContact | undefined;
  readonly https: PublicListenerOptions;
  readonly http: PublicListenerOptions | undefined;
  /** HTTP/2 for clients that choose it. @defaultValue true */
  readonly http2?: boolean;
  /** Providers at which people sign in may be at addresses that are not public. @defaultValue false */
  readonly privateIssuers?: boolean;
  /** Port in redirects. @defaultValue the https port */
  readonly publicPort: number | undefined;
}

/** Time to get a link to a member that has none. */
const CONNECT_MS = 3_000;
const DRAIN_CHECK_MS = 50;

export class PublicEdge implements Service {
  readonly #deps: PublicEdgeDeps;
  readonly #server: RequestServer;
  readonly #https: PublicListener;
  readonly #http: PublicListener | undefined;
  readonly #secureHttp: Http1;
  readonly #plainHttp: Http1;
  readonly #http2: Http2;
  readonly #tunnels: TunnelServer;
  readonly #orders: Orders;
  readonly #ports: TcpPorts;
  readonly #tls: (greeted: Greeted) => void;
  readonly #challenges: (greeted: Greeted) => void;
  readonly #limits: ClientLimits;
  /** The options of the parts, which read them at each use: see {@link PublicEdge.reconfigure}. */
  readonly #parts: {
    readonly client: GatewayLimits;
    readonly server: RequestServerOptions;
    readonly secure: ConnectionOptions;
    readonly plain: ConnectionOptions;
    readonly tunnels: TunnelServerOptions;
  };
  readonly #counters = new EdgeCounters();
  #total = 0;
  #drainUntilMs = Infinity;

  constructor(deps: PublicEdgeDeps, options: PublicEdgeOptions) {
    const { clock, logger } = deps;
    const { domain, limits, abuse } = options;
    this.#deps = deps;
    this.#parts = {
      client: { ...limits },
      server: { ...serverOptions(domain, { limits, abuse }), privateIssuers: options.privateIssuers === true },
      secure: connectionOptions('https', limits),
      plain: connectionOptions('http', limits),
      tunnels: tunnelOptions(limits),
    };
    const parts = this.#parts;
    const counters = this.#counters;
    this.#limits = new ClientLimits({ clock, counters }, parts.client);
    this.#server = new RequestServer({ ...deps, limits: this.#limits, counters }, parts.server);
    const server = this.#server;
    const answerUnreadable: RequestServer['answerUnreadable'] = (...cause) => server.answerUnreadable(...cause);
    this.#secureHttp = new Http1(
      {
        clock,
        newId: () => deps.newId(),
        answerUnreadable,
        serve: (request) => {
          this.#total += 1;
          server.serve(request);
        },
      },
      parts.secure,
    );
    const httpsPort = (): number => options.publicPort ?? this.httpsPort;
    this.#plainHttp = new Http1(
      {
        clock,
        newId: () => deps.newId(),
        answerUnreadable,
        serve: (request) => serveRedirect(deps, { domain, httpsPort }, request),
      },
      parts.plain,
    );
    this.#http2 = new Http2(
      {
        clock,
        newId: () => deps.newId(),
        refuseUnreadable: (...cause) => server.refuseUnreadable(...cause),
        spendMisuse: ({ address }) => this.#limits.spendMisuse(address),
        onAbuse: ({ address }, host, reason) =>
          logger.info({ component: 'gateway.http2', remoteAddress: address, host, reason }, 'client over a budget'),
        serve: (request) => {
          this.#total += 1;
          server.serve(request);
        },
      },
      parts.client,
    );
    this.#tunnels = new TunnelServer({ ...deps, limits: this.#limits }, parts.tunnels);
    this.#tls = createTlsPhase(
      {
        clock,
        logger,
        contexts: deps.contexts,
        failed: () => void (counters.handshakesFailed += 1),
        serve: (socket, client, servername) => {
          counters.handshakes += 1;
          const route = deps.snapshot().find(servername);
          if (route?.opaque === 'terminated') return this.#tunnels.serve({ socket, client, route, servername });
          const http = socket.alpnProtocol === 'h2' ? this.#http2 : this.#secureHttp;
          http.accept(socket, client, servername);
        },
      },
      { protocols: options.http2 === false ? ['http/1.1'] : ['h2', 'http/1.1'] },
    );
    this.#challenges = createTlsPhase(
      {
        clock,
        logger,
        contexts: { get: (host) => Promise.resolve(deps.challenges?.contextFor(host)) },
        // The handshake was the proof.
        serve: (socket) => socket.end(),
      },
      { protocols: [ACME_TLS_PROTOCOL] },
    );
    this.#orders = new Orders({ clock, snapshot: () => deps.snapshot() });
    this.#ports = new TcpPorts(
      {
        clock,
        logger,
        limits: this.#limits,
        snapshot: () => deps.snapshot(),
        serve: (socket, client, route) => this.#tunnels.serve({ socket, client, route, servername: undefined }),
      },
      { host: options.https.host, shared: options.https.fd !== undefined },
    );
    const hello = createHelloPhase({ clock, logger, serve: (...greeted) => this.#onHello(...greeted) });
    const plain = (socket: Socket, client: { address: string; port: number }): void =>
      this.#plainHttp.accept(socket, client, '');
    this.#https = new PublicListener({ logger, limits: this.#limits, serve: hello }, options.https);
    this.#http = options.http && new PublicListener({ logger, limits: this.#limits, serve: plain }, options.http);
  }

  get httpsPort(): number {
    return this.#https.port;
  }

  get httpPort(): number | undefined {
    return this.#http?.port;
  }

  /** Client connections, requests in work, requests since the start. */
  get counts(): { readonly connections: number; readonly running: number; readonly total: number } {
    return { connections: this.#limits.connections, running: this.#server.running, total: this.#total };
  }

  /** What was counted since the start. */
  get figures(): EdgeFigures {
    return this.#counters.figures(this.#tunnels.counts, this.#server.webSockets);
  }

  /** Connections whose bytes nobody here reads. */
  get tunnels(): TunnelCounts {
    return this.#tunnels.counts;
  }

  async start(options: { readonly signal: AbortSignal }): Promise<void> {
    await using opening = new AsyncDisposableStack();
    for (const listener of [this.#https, this.#http, this.#ports]) {
      if (!listener) continue;
      await listener.start(options);
      opening.defer(() => listener.stop());
    }
    opening.move();
  }

  /** What comes from now on finds other limits and pages; what runs and what is connected goes on. */
  reconfigure({ limits, abuse }: Pick<EdgeSettings, 'limits' | 'abuse'>): void {
    const { client, server, secure, plain } = this.#parts;
    Object.assign(client, limits);
    Object.assign(server, serverOptions(server.domain, { limits, abuse }));
    Object.assign(secure, connectionOptions('https', limits));
    Object.assign(plain, connectionOptions('http', limits));
    Object.assign(this.#parts.tunnels, tunnelOptions(limits));
  }

  /** Ends what runs under these hosts; to be called after each change of routes. */
  withdraw(hosts: readonly string[]): void {
    this.#server.withdraw(hosts);
    this.#tunnels.withdraw(hosts);
    this.#ports.refresh();
  }

  /** Another process takes what is new: accepts no connection, and ends each behind its next answer. */
  retire(): void {
    this.#https.close();
    this.#http?.close();
    this.#ports.close();
    this.#secureHttp.retire();
    this.#plainHttp.retire();
    this.#http2.retire();
  }

  /** Takes nothing new; resolves when nothing runs, at the latest after `ms`: the shortest where it is called again. */
  async drain(ms: number): Promise<void> {
    this.#https.close();
    this.#http?.close();
    this.#ports.close();
    this.#server.drain();
    this.#tunnels.drain();
    this.#secureHttp.drain();
    this.#plainHttp.drain();
    this.#http2.drain();
    const { clock } = this.#deps;
    this.#drainUntilMs = Math.min(this.#drainUntilMs, clock.now() + ms);
    while (this.#server.running + this.#tunnels.running > 0 && clock.now() < this.#drainUntilMs) {
      await new Promise<void>((resolve) => clock.after(DRAIN_CHECK_MS, resolve));
    }
  }

  async stop(): Promise<void> {
    this.#server.stop();
    this.#tunnels.stop();
    this.#secureHttp.stop();
    this.#plainHttp.stop();
    this.#http2.stop();
    await Promise.all([this.#https.stop(), this.#http?.stop(), this.#ports.stop()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** A stream that a member opened. */
  accept(stream: LinkStream): void {
    this.#orders.accept(stream);
  }

  /** Who answers a handshake is decided by its name alone, before anybody has. */
  #onHello(socket: Socket, client: ClientAddress, hello: ClientHello, bytes: Buffer): void {
    const servername = normaliseHost(hello.serverName);
    const route = servername === undefined ? undefined : this.#deps.snapshot().find(servername);
    // Nobody asks for it here.
    if (servername === undefined || route?.opaque === 'port') return endWithAlert(socket, ALERT.unrecognizedName);
    if (route?.opaque !== 'passthrough') {
      if (isChallenge(hello)) return this.#challenges({ socket, client, hello, bytes });
      const mtls = route?.auth?.kind === 'ways' ? route.auth.mtls : undefined;
      return this.#tls({ socket, client, hello, bytes, protocols: protocolsOf(route, hello), mtls });
    }
    const refuse = (refused: Socket): void => endWithAlert(refused, ALERT.internalError);
    const preferred = this.#orders.memberFor(servername, hello);
    this.#tunnels.serve({ socket, client, route, servername, first: bytes, refuse, preferred });
  }
}

/** RFC 8737 §3: nothing else is offered beside it. */
function isChallenge({ protocols }: ClientHello): boolean {
  return protocols.length === 1 && protocols[0] === ACME_TLS_PROTOCOL;
}

/** Behind a tcp service nobody here knows what is spoken: a client gets what it asks for. Undefined = the gateway's own. */
function protocolsOf(route: Route | undefined, { protocols }: ClientHello): readonly string[] | undefined {
  if (route?.opaque === undefined) return undefined;
  return protocols.includes('http/1.1') ? ['http/1.1'] : protocols.slice(0, 1);
}

function tunnelOptions({ connectionsPerDeployment, tunnelIdleMs }: GatewayLimits): TunnelServerOptions {
  return { connectMs: CONNECT_MS, idleMs: tunnelIdleMs, maxPerDeployment: connectionsPerDeployment };
}

function serverOptions(
  domain: string,
  { limits, abuse }: Pick<EdgeSettings, 'limits' | 'abuse'>,
): Omit<RequestServerOptions, 'privateIssuers'> {
  return {
    domain,
    answerMs: limits.answerMs,
    stallMs: limits.stallMs,
    connectMs: CONNECT_MS,
    maxBodyBytes: limits.maxBodyBytes,
    maxRequests: limits.requests,
    maxRequestsPerDeployment: limits.requestsPerDeployment,
    abuse,
  };
}

function connectionOptions(scheme: 'https' | 'http', limits: GatewayLimits): ConnectionOptions {
  const { maxHeadBytes, headMs, idleMs } = limits;
  return { scheme, maxHeadBytes, headMs, idleMs };
}
