/**
 * One client connection that speaks HTTP/2: streams out of node:http2, requests out of streams, and an account of what the
 * client makes the gateway do for nothing. nghttp2 checks frames and heads and keeps its own bounds, which are all set here;
 * what it does not count is counted here, and a connection over a budget ends with ENHANCE_YOUR_CALM.
 */
import { randomBytes } from 'node:crypto';
import {
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type SecureServerSessionOptions,
} from 'node:http2';
import type { TLSSocket } from 'node:tls';
import type { ClientAddress, ClientRequest } from './client-request.ts';
import { readHttp2Head } from './http2-head.ts';
import { Http2Request, type Http2Carrier } from './http2-request.ts';
import { isReset } from './reset-socket.ts';
import { TokenBucket } from './token-bucket.ts';
import type { ParsedHead } from './parse.ts';
import type { OwnAnswer } from './respond.ts';

export interface Http2ConnectionDeps {
  now(): number;
  /** A short random id. */
  newId(): string;
  /** Takes over a request. */
  serve(request: ClientRequest): void;
  /** The answer to a head that is no request; it is logged there. */
  refuseUnreadable(client: ClientAddress, servername: string, error: Error): OwnAnswer;
  /** The client made work for nothing; false = its address did so too often. */
  spendMisuse(client: ClientAddress): boolean;
  /** `bytes` more wait for clients, or fewer where negative. */
  onQueued(bytes: number): void;
  onAbuse(client: ClientAddress, servername: string, reason: string): void;
}

export interface Http2Options {
  readonly maxHeadBytes: number;
  /** Time for the first request to come. */
  readonly headMs: number;
  /** Time between requests. */
  readonly idleMs: number;
  /** A client that takes nothing of an answer for so long is given up. */
  readonly stallMs: number;
}

/** Requests of one connection at once: what nginx, Go and Envoy allow at an edge. */
const MAX_STREAMS = 100;
/**
 * Bytes a client may send ahead, of one body and of all of them. Node gives back the second as it reads; nghttp2 says so
 * when half of it came, and what came until then can be asked for.
 */
const STREAM_WINDOW = 128 * 1_024;
const CONNECTION_WINDOW = MAX_STREAMS * STREAM_WINDOW;
/** How long a connection that was ended may take to send what it holds. */
const LINGER_MS = 1_000;

/** Streams that ended without having been a whole request: some at once, as when a page is left, and a few a second. */
const MISUSES = { burst: 200, perSecond: 50 };
/** Clients of gRPC measure the line with them, several a round trip. */
const PINGS = { burst: 200, perSecond: 50 };
const SETTINGS = { burst: 20, perSecond: 2 };
/** Bytes that carry neither head nor body nor what goes with them: frames that nobody needs, padding, TLS around little. */
const OVERHEAD = { burst: 128 * 1_024, perSecond: 256 * 1_024 };
/** What a client sends beside a request's head, beside a part of its body, and for so many bytes that it takes. */
const STREAMS_PER_LOOK = 16;
/** Between two looks: more than clients send who ask and read. */
const MUCH_BYTES = 64 * 1_024;
/** A connection that is younger is looked at more often. */
const YOUNG_MS = 1_000;
const PER_REQUEST = 512;
/** Of that, what a client may not have needed yet. */
const MOST_SAVED = 256 * 1_024;
const PER_PART = 64;
const TAKEN_PER_BYTE = 64;

export class Http2Connection implements Http2Carrier {
  readonly client: ClientAddress;
  readonly servername: string;
  /** Written bytes the client has not taken. */
  queued = 0;
  readonly #deps: Http2ConnectionDeps;
  readonly #options: Http2Options;
  readonly #socket: TLSSocket;
  readonly #session: ServerHttp2Session;
  readonly #requests = new Set<Http2Request>();
  readonly #misuses: TokenBucket;
  readonly #pings: TokenBucket;
  readonly #settings: TokenBucket;
  readonly #overhead: TokenBucket;
  /** Bytes that the client had reason to send, and what it had sent at the last look. */
  #useful = 0;
  #overheadBytes = 0;
  /** Bytes of bodies that came and were for nobody, and as many as may have come for requests that were over. */
  #unwanted = 0;
  #lateBytes = 0;
  #readBytes = 0;
  /** At the last look: bytes of bodies that were read or wait, and those since nghttp2 last gave back. */
  #wanted = 0;
  #ungivenBytes = 0;
  /** What had come at the last look. */
  #lookedBytes = 0;
  #streams = 0;
  #served = false;
  readonly #beganMs: number;
  /** Since when there has been no request. */
  #idleSinceMs: number;
  /** When it was told to end at once. */
  #endedMs: number | undefined;

  constructor(
    deps: Http2ConnectionDeps,
    options: Http2Options,
    from: { readonly socket: TLSSocket; readonly client: ClientAddress; readonly servername: string },
  ) {
    this.#deps = deps;
    this.#options = options;
    this.#socket = from.socket;
    this.client = from.client;
    this.servername = from.servername;
    const now = deps.now();
    this.#idleSinceMs = this.#beganMs = now;
    this.#misuses = new TokenBucket(MISUSES, now);
    this.#pings = new TokenBucket(PINGS, now);
    this.#settings = new TokenBucket(SETTINGS, now);
    this.#overhead = new TokenBucket(OVERHEAD, now);
    // Who sends no more gives no window either, and of a half-open socket a session does not hear it.
    from.socket.on('end', () => this.end(constants.NGHTTP2_CANCEL));
    // Only tls.Server says so itself, and a session waits for it.
    Object.assign(from.socket, { secureConnecting: false });
    const session = performServerHandshake(from.socket, sessionOptions(options));
    this.#session = session;
    session.setLocalWindowSize(CONNECTION_WINDOW);
    // Whatever it was, the streams hear of it and the socket closes.
    session.on('error', () => undefined);
    session.on('stream', (stream, _headers, flags, raw) => this.#onStream(stream, flags, raw));
    session.on('ping', () => this.#spend(this.#pings, 'pings'));
    session.on('remoteSettings', () => this.#spend(this.#settings, 'settings'));
  }

  now(): number {
    return this.#deps.now();
  }

  onQueued(bytes: number): void {
    this.queued += bytes;
    if (bytes > 0) this.#useful += PER_PART + bytes / TAKEN_PER_BYTE;
    this.#deps.onQueued(bytes);
  }

  onReceived(bytes: number): void {
    this.#useful += bytes + PER_PART;
    this.#readBytes += bytes;
  }

  onOver(request: Http2Request): void {
    this.#requests.delete(request);
    this.#lateBytes += request.awaitedBytes(STREAM_WINDOW);
    if (this.#requests.size === 0) this.#idleSinceMs = this.#deps.now();
    // Broken off by the client, or by nghttp2 for what the client did: either way the work was for nothing.
    // What ends with a connection that was ended has been counted.
    const isMisuse = this.#endedMs === undefined && !request.destroyed && !request.delivered;
    if (isMisuse) this.#onMisuse();
  }

  /** To call now and then: ends what waits too long. */
  watch(nowMs: number): void {
    if (this.#endedMs !== undefined) {
      if (nowMs - this.#endedMs > LINGER_MS) this.#socket.destroy();
      return;
    }
    this.#countOverhead(nowMs);
    if (this.#requests.size === 0) {
      const { headMs, idleMs } = this.#options;
      if (nowMs - this.#idleSinceMs > (this.#served ? idleMs : headMs)) this.end(constants.NGHTTP2_NO_ERROR);
      return;
    }
    // Else there would be no hurry: what does not wait for the client is heard of when it ends.
    if (this.queued > 0 && isReset(this.#socket)) {
      this.end(constants.NGHTTP2_CANCEL);
      return void this.#socket.destroy();
    }
    for (const request of this.#requests) {
      // Until the answer is over the exchange watches it.
      const isStalled = request.answered && request.queued > 0 && nowMs - request.progressMs > this.#options.stallMs;
      if (isStalled) request.destroy();
    }
  }

  /** Between two calls of `watch`, where much comes: a flood that is over in a second has done its harm. True while it does. */
  look(nowMs: number): boolean {
    if (this.#endedMs !== undefined) return false;
    const came = this.#socket.bytesRead - this.#lookedBytes;
    this.#countOverhead(nowMs);
    return came > MUCH_BYTES || nowMs - this.#beganMs < YOUNG_MS;
  }

  /** True when much came since the last look. */
  get isBusy(): boolean {
    return this.#socket.bytesRead - this.#lookedBytes > MUCH_BYTES;
  }

  /** Takes no new request, and closes once the running ones are answered. */
  drain(): void {
    if (!this.#session.closed) this.#session.close();
  }

  /** Ends everything of it now. */
  end(code: number): void {
    if (this.#endedMs !== undefined) return;
    this.#endedMs = this.#deps.now();
    // Without a code of its own an error of undefined would count as none.
    this.#session.destroy(null as unknown as undefined, code);
  }

  #onStream(stream: ServerHttp2Stream, flags: number, raw: readonly string[]): void {
    // Also for those that are over before they are shown here: an error without a listener ends the process.
    stream.on('error', ignored);
    if (this.#endedMs !== undefined) return;
    if (stream.destroyed || stream.closed) return this.#onMisuse();
    const now = this.#deps.now();
    this.#useful += PER_REQUEST;
    for (const text of raw) this.#useful += text.length;
    // Heads cost most of what a client can send: their account is not left to the next look.
    this.#streams += 1;
    if (this.#streams % STREAMS_PER_LOOK === 0) this.#countOverhead(now);
    if (stream.destroyed) return;
    let head: ParsedHead;
    try {
      head = readHttp2Head(raw, {
        scheme: 'https',
        servername: this.servername,
        maxHeadBytes: this.#options.maxHeadBytes,
        endsHere: (flags & constants.NGHTTP2_FLAG_END_STREAM) !== 0,
        webSocketKey: () => randomBytes(16).toString('base64'),
      });
    } catch (error) {
      return this.#refuse(stream, error as Error);
    }
    const { client, servername } = this;
    const request = new Http2Request(stream, this, {
      id: this.#deps.newId(),
      startedMs: now,
      client,
      servername,
      head,
    });
    this.#requests.add(request);
    this.#served = true;
    this.#deps.serve(request);
  }

  #refuse(stream: ServerHttp2Stream, error: Error): void {
    const { status, fields, body } = this.#deps.refuseUnreadable(this.client, this.servername, error);
    const headers: Record<string, string | number> = { ':status': status };
    for (const [name, value] of fields) headers[name] = value;
    stream.respond(headers);
    stream.end(body);
    stream.close(constants.NGHTTP2_NO_ERROR);
    stream.resume();
    this.#onMisuse();
  }

  #countOverhead(nowMs: number): void {
    let unread = 0;
    let late = this.#lateBytes;
    for (const request of this.#requests) {
      unread += request.unreadBytes;
      if (request.answered) late += request.awaitedBytes(STREAM_WINDOW);
    }
    const { bytesRead } = this.#socket;
    this.#lookedBytes = bytesRead;
    this.#countUnwanted(this.#readBytes + unread);
    // A body that is on its way while its request is refused is no flood.
    const unwanted = Math.min(late, this.#unwanted);
    const came = bytesRead - unread - unwanted;
    // Requests are credited with more than they cost on the wire: saved up, that would be leave for a flood.
    this.#useful = Math.min(this.#useful, came + MOST_SAVED);
    const overhead = Math.max(0, came - this.#useful);
    const more = overhead - this.#overheadBytes;
    this.#overheadBytes = overhead;
    if (more > 0 && !this.#overhead.spend(nowMs, more)) this.#abused('frames');
  }

  /** Where so much comes between two looks that nghttp2 gives back twice, less is counted than came. */
  #countUnwanted(wanted: number): void {
    const ungiven = this.#session.state.effectiveRecvDataLength ?? this.#ungivenBytes;
    const given = ungiven < this.#ungivenBytes ? CONNECTION_WINDOW / 2 : 0;
    const came = ungiven - this.#ungivenBytes + given;
    this.#unwanted += Math.max(0, came - (wanted - this.#wanted));
    this.#ungivenBytes = ungiven;
    this.#wanted = wanted;
  }

  #onMisuse(): void {
    if (this.#deps.spendMisuse(this.client)) this.#spend(this.#misuses, 'streams');
    else this.#abused('client');
  }

  #spend(bucket: TokenBucket, reason: string): void {
    if (!bucket.spend(this.#deps.now())) this.#abused(reason);
  }

  #abused(reason: string): void {
    if (this.#endedMs !== undefined || this.#session.destroyed) return;
    this.#deps.onAbuse(this.client, this.servername, reason);
    this.end(constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }
}

function ignored(): void {}

function sessionOptions({ maxHeadBytes }: Http2Options): SecureServerSessionOptions {
  return {
    settings: {
      maxConcurrentStreams: MAX_STREAMS,
      initialWindowSize: STREAM_WINDOW,
      // A head over the limit gets an answer that says so, one twice as large a reset.
      maxHeaderListSize: 2 * maxHeadBytes,
      enableConnectProtocol: true,
    },
    maxHeaderListPairs: 256,
    // What a client sends in one SETTINGS frame; there are a dozen kinds.
    maxSettings: 32,
    // In MB: what one connection's streams and their unsent bytes may hold before new ones are refused.
    maxSessionMemory: 8,
    // Broken heads and frames that end only a stream, and empty DATA frames.
    maxSessionInvalidFrames: 100,
    // Streams over the limit above, between which the client did not wait for our settings.
    maxSessionRejectedStreams: 100,
    // nghttp2's own count of RST_STREAM frames, behind ours.
    streamResetBurst: 2 * MISUSES.burst,
    streamResetRate: 2 * MISUSES.perSecond,
    maxOutstandingPings: 4,
    // Missing from the types. A service that repeats a field is its own business, as over HTTP/1.1.
    ...({ maxOutstandingSettings: 4, strictSingleValueFields: false } as object),
  };
}
