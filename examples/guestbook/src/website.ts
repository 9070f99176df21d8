/** The web service: the page, its form, and what is live on it. */
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { DatabaseClient } from './database-client.ts';
import { parseDraft } from './entry.ts';
import { GuestbookError, type GuestbookErrorCode } from './errors.ts';
import { Live } from './live.ts';
import { SCRIPT, STYLE, renderPage } from './page.ts';

const MAX_BODY_BYTES = 8 * 1024;
const ENTRIES_ON_PAGE = 50;

const STATUS: Readonly<Record<GuestbookErrorCode, number>> = {
  ENTRY_INVALID: 400,
  REQUEST_INVALID: 400,
  REQUEST_TOO_LARGE: 413,
  BUSY: 503,
  JOURNAL_FULL: 507,
  JOURNAL_DAMAGED: 500,
  DATABASE_AWAY: 503,
};

const SECURITY_HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
} as const;

export interface WebsiteOptions {
  readonly host: string;
  /** 0 = any free port. */
  readonly port: number;
  readonly database: { readonly host: string; readonly port: number; readonly timeoutMs?: number };
}

export class Website implements AsyncDisposable {
  readonly #options: WebsiteOptions;
  readonly #server: Server;
  readonly #live: Live = new Live();
  readonly #database: DatabaseClient;

  constructor(options: WebsiteOptions) {
    this.#options = options;
    this.#database = new DatabaseClient({ ...options.database, onEntry: (entry) => this.#live.publish(entry) });
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch((error: unknown) => answerError(request, response, error));
    });
    this.#server.on('upgrade', (request, socket) => {
      if (pathOf(request) === '/live') this.#live.serveSocket(request, socket);
      else socket.end('HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
    });
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === 'object' && address !== null ? address.port : 0;
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen(this.#options.port, this.#options.host, () => resolve());
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#live[Symbol.dispose]();
    this.#database[Symbol.dispose]();
    this.#server.closeIdleConnections();
    setTimeout(() => this.#server.closeAllConnections(), 1000).unref();
    await closed;
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = pathOf(request);
    const route = `${request.method === 'HEAD' ? 'GET' : request.method} ${path}`;
    switch (route) {
      case 'GET /':
        return this.#servePage(response);
      case 'GET /entries':
        return answerJson(response, 200, { entries: await this.#database.newest(ENTRIES_ON_PAGE) });
      case 'POST /entries':
        return this.#takeEntry(request, response);
      case 'GET /events':
        return this.#live.serveEvents(request, response);
      case 'GET /healthz':
        return answerJson(response, 200, { ok: true, database: this.#database.connected ? 'connected' : 'away' });
      case 'GET /style.css':
        return answer(response, 200, 'text/css; charset=utf-8', STYLE);
      case 'GET /page.js':
        return answer(response, 200, 'text/javascript; charset=utf-8', SCRIPT);
      default:
        return answer(response, 404, 'text/plain; charset=utf-8', 'There is no such page.\n');
    }
  }

  async #servePage(response: ServerResponse): Promise<void> {
    try {
      const entries = await this.#database.newest(ENTRIES_ON_PAGE);
      answer(response, 200, 'text/html; charset=utf-8', renderPage({ entries }));
    } catch (error) {
      if (!(error instanceof GuestbookError)) throw error;
      response.setHeader('retry-after', '2');
      const notice = 'The database is away; what you write now is refused until it is back.';
      answer(response, 503, 'text/html; charset=utf-8', renderPage({ entries: [], notice }));
    }
  }

  async #takeEntry(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A form of another site may be posted here; browsers say so.
    const site = request.headers['sec-fetch-site'];
    if (site !== undefined && site !== 'same-origin' && site !== 'none') {
      return answer(response, 403, 'text/plain; charset=utf-8', 'Please sign the book on its own page.\n');
    }
    const json = request.headers['content-type']?.startsWith('application/json') ?? false;
    const body = await readBody(request);
    const entry = await this.#database.append(parseDraft(json ? parseJson(body) : parseForm(body)), randomUUID());
    if (wantsJson(request)) return answerJson(response, 201, { entry });
    response.writeHead(303, { location: '/' }).end();
  }
}

function pathOf(request: IncomingMessage): string {
  return request.url?.split('?', 1)[0] ?? '/';
}

function wantsJson(request: IncomingMessage): boolean {
  return request.headers.accept?.includes('application/json') ?? false;
}

/** @throws `REQUEST_TOO_LARGE` above {@link MAX_BODY_BYTES} */
async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) {
      throw new GuestbookError('REQUEST_TOO_LARGE', `an entry has at most ${MAX_BODY_BYTES} bytes`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseForm(body: string): unknown {
  return Object.fromEntries(new URLSearchParams(body));
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new GuestbookError('REQUEST_INVALID', 'not JSON', error);
  }
}

function answer(response: ServerResponse, status: number, type: string, body: string): void {
  response.writeHead(status, {
    ...SECURITY_HEADERS,
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
  });
  response.end(body);
}

function answerJson(response: ServerResponse, status: number, body: object): void {
  answer(response, status, 'application/json', `${JSON.stringify(body)}\n`);
}

function answerError(request: IncomingMessage, response: ServerResponse, error: unknown): void {
  if (response.headersSent) return void response.destroy();
  const code = error instanceof GuestbookError ? error.code : 'INTERNAL';
  const message = error instanceof GuestbookError ? error.message : 'something went wrong here';
  const status = code === 'INTERNAL' ? 500 : (STATUS[code] ?? 500);
  if (code === 'INTERNAL') console.error(error);
  if (status === 503) response.setHeader('retry-after', '2');
  if (status === 413) response.setHeader('connection', 'close');
  if (wantsJson(request)) answerJson(response, status, { error: { code, message } });
  else answer(response, status, 'text/plain; charset=utf-8', `${message}\n`);
}
