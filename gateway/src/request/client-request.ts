/**
 * One request as every phase after `parse` sees it, whatever protocol brought it. The parser owns the connection;
 * these are the two directions of it that belong to this request.
 */
import type { FieldList } from '@moat/core';
import type { ParsedHead } from './parse.ts';

/** Where a connection comes from. */
export interface ClientAddress {
  /** IPv4, or IPv6 without a zone; IPv4-mapped addresses as IPv4. */
  readonly address: string;
  readonly port: number;
  /** Shown in the handshake, and signed by who may sign it. */
  readonly certificate?: ClientCertificate;
}

/** Of a client that showed one of the authorities of the name it asked for. */
export interface ClientCertificate {
  /** Mark of the authorities it was held against. */
  readonly authority: string;
  /** Its common name, or its fingerprint. */
  readonly user: string;
  /** What a service is told of it. */
  readonly field: string;
  /** Milliseconds since the epoch. */
  readonly untilMs: number;
}

export interface RequestBodyEvents {
  /** `chunk` is borrowed until the call returns. */
  onData(chunk: Uint8Array): void;
  onEnd(trailers: FieldList): void;
}

/** What the client sends after the head. After an answer of 101: raw bytes. */
export interface RequestBody {
  /** Starts the flow; called at most once. */
  read(events: RequestBodyEvents): void;
  pause(): void;
  resume(): void;
  /** True once all of it has arrived. */
  readonly complete: boolean;
  readonly receivedBytes: number;
}

/** What the client gets. Misuse of the order head → body → end is a bug of the caller. */
export interface ClientAnswer {
  readonly headSent: boolean;
  readonly sentBytes: number;
  /** An interim answer: 100, 102 or 103. Dropped where the client's protocol has none. */
  inform(status: number, fields: FieldList): void;
  /** The final head, or 101. `fields` are end-to-end fields; framing is added here. */
  writeHead(status: number, fields: FieldList): void;
  /** Copies `chunk`; false = wait for `onDrain`. */
  write(chunk: Uint8Array): boolean;
  end(trailers: FieldList): void;
  /** Ends the connection now: the answer cannot be completed. */
  destroy(): void;
  /** The connection ends after this answer. */
  closeAfter(): void;
}

/** What the connection reports to the phase that runs the request. */
export interface ClientEvents {
  /** `answer.write` may go on. */
  onDrain(): void;
  /** The rest of the body cannot be read: its framing is broken, or the client left in its middle. */
  onBroken(error: Error): void;
  /** The answer is with the operating system, or never will be (`delivered` false). Called exactly once, last. */
  onClose(delivered: boolean): void;
}

export interface ClientRequest {
  /** Shown on error pages, sent inward as `x-request-id`, written to the log. */
  readonly id: string;
  readonly startedMs: number;
  readonly client: ClientAddress;
  /** Name of the TLS handshake, normalised. */
  readonly servername: string;
  readonly head: ParsedHead;
  readonly body: RequestBody;
  readonly answer: ClientAnswer;
  /** Set once, in the turn in which the request is handed over. */
  listen(events: ClientEvents): void;
}
