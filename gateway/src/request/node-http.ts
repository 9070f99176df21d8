/**
 * HTTP/1.1 on client connections by node:http, until a parser of our own takes its place: it reads the wire,
 * everything that judges is in `parse.ts`. Requests of one connection run one after the other.
 * Bound: `MAX_PIPELINED` requests wait on a connection; one more ends it.
 */
import { createServer, ServerResponse, type IncomingMessage, type Server } from 'node:http';
import type { Socket } from 'node:net';
import { BoundedQueue, type Clock } from '@moat/core';
import { refusal } from '../errors.ts';
import type { ClientAddress, ClientRequest } from './client-request.ts';
import { NodeRequest } from './node-request.ts';
import { parseHead } from './parse.ts';

export interface NodeHttpDeps {
  readonly clock: Clock;
  /** A short random id. */
  newId(): string;
  /** Takes over a request. */
  serve(request: ClientRequest): void;
  /** The whole answer to bytes that are no request. */
  answerUnreadable(client: ClientAddress, servername: string, error: Error): Buffer;
}

export interface NodeHttpOptions {
  readonly scheme: 'http' | 'https';
  /** Request line and fields. */
  readonly maxHeadBytes: number;
  /** Time for a head to arrive. */
  readonly headMs: number;
  /** Time between two requests of a connection. */
  readonly idleMs: number;
}

interface Connection {
  readonly client: ClientAddress;
  readonly servername: string;
  current: NodeRequest | undefined;
  readonly waiting: BoundedQueue<NodeRequest>;
}

const MAX_PIPELINED = 32;
/** How long a refused client may go on sending before its connection is reset under the answer. */
const LINGER_MS = 1_000;

export class NodeHttp {
  readonly #deps: NodeHttpDeps;
  readonly #options: NodeHttpOptions;
  readonly #server: Server;
  readonly #connections = new Map<Socket, Connection>();
  #stopping = false;

  constructor(deps: NodeHttpDeps, options: NodeHttpOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#server = createServer({
      insecureHTTPParser: false,
      requireHostHeader: false,
      maxHeaderSize: options.maxHeadBytes,
      headersTimeout: options.headMs,
      // A whole upload may take hours; progress is watched by the exchange.
      requestTimeout: 0,
      connectionsCheckingInterval: Math.max(50, Math.min(1_000, options.headMs / 2)),
      keepAliveTimeout: options.idleMs,
      shouldUpgradeCallback: (request: IncomingMessage) => this.#asksUpgrade(request),
    });
    // The parser's own limit would cut fields off; parse.ts counts and refuses.
    this.#server.maxHeadersCount = 0;
    this.#server.timeout = 0;
    this.#server.on('request', (request, response) => this.#take(request, response));
    this.#server.on('checkContinue', (request, response) => this.#take(request, response));
    this.#server.on('checkExpectation', (request, response) => this.#take(request, response));
    this.#server.on('upgrade', (request, socket, head) => this.#takeUpgrade(request, socket as Socket, head));
    this.#server.on('connect', (_request, socket) => this.#refuseConnect(socket as Socket));
    this.#server.on('clientError', (error, socket) => this.#unreadable(error, socket as Socket));
    // It gets connections from the phases before and never listens; its timers start on this event.
    this.#server.emit('listening');
  }

  /** Takes over a connection. `servername` is the handshake's, or empty without TLS. */
  accept(socket: Socket, client: ClientAddress, servername: string): void {
    if (this.#stopping) return void socket.destroy();
    this.#connections.set(socket, { client, servername, current: undefined, waiting: new BoundedQueue(MAX_PIPELINED) });
    socket.once('close', () => this.#connections.delete(socket));
    // Node ends a connection by this after its last answer; at once, the client may see a reset before the answer.
    socket.destroySoon = () => this.#linger(socket);
    this.#server.emit('connection', socket);
  }

  /** Ends idle connections now and the others with their running answer. */
  drain(): void {
    this.#stopping = true;
    for (const [socket, connection] of this.#connections) {
      if (connection.current) connection.current.answer.closeAfter();
      else socket.destroy();
    }
  }

  /** Ends everything now. */
  stop(): void {
    this.#stopping = true;
    // Stops the timers; that it never listened is no news.
    this.#server.close(() => undefined);
    for (const socket of this.#connections.keys()) socket.destroy();
  }

  #asksUpgrade(request: IncomingMessage): boolean {
    try {
      return parseHead(rawHead(request), { scheme: this.#options.scheme }).upgrade !== undefined;
    } catch {
      // The request phase meets the same error and answers it.
      return false;
    }
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const { socket } = request;
    const connection = this.#connections.get(socket);
    if (!connection) return void socket.destroy();
    const taken = this.#request(connection, request, response, socket);
    if (!connection.current) return this.#begin(connection, taken, socket);
    try {
      connection.waiting.push(taken);
    } catch {
      socket.destroy();
    }
  }

  #takeUpgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const connection = this.#connections.get(socket);
    // Behind an unfinished request the bytes to come could be anybody's.
    if (!connection || connection.current) return void socket.destroy();
    socket.setTimeout(0);
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    response.assignSocket(socket);
    response.once('finish', () => socket.destroySoon());
    const taken = this.#request(connection, request, response, socket);
    taken.upgradeHead = head;
    this.#begin(connection, taken, socket);
  }

  #request(connection: Connection, request: IncomingMessage, response: ServerResponse, socket: Socket): NodeRequest {
    if (this.#stopping) response.shouldKeepAlive = false;
    return new NodeRequest(request, response, socket, {
      id: this.#deps.newId(),
      startedMs: this.#deps.clock.now(),
      client: connection.client,
      servername: connection.servername,
      raw: rawHead(request),
    });
  }

  #begin(connection: Connection, request: NodeRequest, socket: Socket): void {
    connection.current = request;
    request.onSettled = () => {
      connection.current = undefined;
      const next = connection.waiting.shift();
      if (next) this.#begin(connection, next, socket);
      else if (this.#stopping) socket.destroySoon();
    };
    this.#deps.serve(request);
  }

  #unreadable(error: NodeJS.ErrnoException, socket: Socket): void {
    const connection = this.#connections.get(socket);
    if (!connection || !socket.writable || error.code === 'ECONNRESET' || error.code === 'EPIPE') {
      return void socket.destroy();
    }
    // Mid-body the running request says it; behind it, nothing may be written into its answer.
    if (connection.current) return connection.current.broken();
    socket.write(this.#deps.answerUnreadable(connection.client, connection.servername, unreadableError(error)));
    this.#linger(socket);
  }

  #refuseConnect(socket: Socket): void {
    const connection = this.#connections.get(socket);
    if (!connection || connection.current) return void socket.destroy();
    const error = refusal('METHOD_REFUSED', 'CONNECT is never forwarded');
    socket.write(this.#deps.answerUnreadable(connection.client, connection.servername, error));
    this.#linger(socket);
  }

  #linger(socket: Socket): void {
    if (socket.destroyed) return;
    socket.end();
    socket.once('end', () => socket.destroy());
    const timer = this.#deps.clock.after(LINGER_MS, () => socket.destroy());
    socket.once('close', () => timer.cancel());
    this.#connections.get(socket)?.current?.discardRest();
    socket.resume();
  }
}

function rawHead(request: IncomingMessage): {
  method: string;
  target: string;
  version: string;
  rawFields: readonly string[];
} {
  const { method = '', url = '', httpVersion, rawHeaders } = request;
  return { method, target: url, version: httpVersion, rawFields: rawHeaders };
}

function unreadableError(error: NodeJS.ErrnoException): Error {
  if (error.code === 'HPE_HEADER_OVERFLOW') return refusal('HEAD_TOO_LARGE', 'the head of the request is too large');
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT')
    return refusal('HEAD_TIMEOUT', 'the head of the request took too long');
  return refusal('REQUEST_MALFORMED', 'this is not an HTTP/1.1 request', { cause: error });
}
