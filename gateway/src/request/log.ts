/** log: one line a request, with the id the client was shown. Never paths, queries or field values. */
import type { Logger, PeerId } from '@moat/core';
import type { ClientRequest } from './client-request.ts';

/** How a request went. */
export interface Outcome {
  readonly status: number;
  /** Present when something else than the service's answer decided. */
  readonly code?: string | undefined;
  readonly deployment?: string | undefined;
  readonly service?: string | undefined;
  readonly peer?: PeerId | undefined;
  readonly attempts?: number | undefined;
}

/** A line of the access log. */
export abstract class AccessEntry {
  readonly component = 'gateway.request';

  /** Members of a JSON object. */
  abstract toJsonMembers(): string;
}

/** Bytes that were no request. */
export class UnreadableEntry extends AccessEntry {
  readonly requestId: string;
  readonly remoteAddress: string;
  readonly host: string;
  readonly status: number;
  readonly code: string;

  constructor(line: Pick<UnreadableEntry, 'requestId' | 'remoteAddress' | 'host' | 'status' | 'code'>) {
    super();
    this.requestId = line.requestId;
    this.remoteAddress = line.remoteAddress;
    this.host = line.host;
    this.status = line.status;
    this.code = line.code;
  }

  toJsonMembers(): string {
    return JSON.stringify(this).slice(1, -1);
  }
}

/** A trace that the client is part of (https://www.w3.org/TR/trace-context/); it is passed on as it came and never made up. */
const TRACE = /^[\da-f]{2}-([\da-f]{32})-[\da-f]{16}-[\da-f]{2}$/;

/**
 * The fields of a request's line. It can write itself as JSON: of all that a gateway does for a small request, a tenth
 * was pino finding out, field by field, what is known here (test/bench).
 */
export class RequestEntry extends AccessEntry {
  readonly requestId: string;
  readonly remoteAddress: string;
  readonly host: string;
  readonly method: string;
  readonly status: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
  readonly deployment: string | undefined;
  readonly service: string | undefined;
  readonly peer: PeerId | undefined;
  readonly code: string | undefined;
  /** Members asked, where it was more than one. */
  readonly count: number | undefined;
  readonly traceId: string | undefined;

  constructor(
    request: ClientRequest,
    outcome: Outcome,
    rest: { readonly delivered: boolean; readonly durationMs: number },
  ) {
    super();
    this.requestId = request.id;
    this.remoteAddress = request.client.address;
    this.host = request.servername;
    this.method = request.head.method;
    this.status = outcome.status;
    this.bytesIn = request.body.receivedBytes;
    this.bytesOut = request.answer.sentBytes;
    this.durationMs = Math.round(rest.durationMs);
    this.deployment = outcome.deployment;
    this.service = outcome.service;
    this.peer = outcome.peer;
    this.code = outcome.code ?? (rest.delivered ? undefined : 'CLIENT_GONE');
    this.count = outcome.attempts !== undefined && outcome.attempts > 1 ? outcome.attempts : undefined;
    this.traceId = traceOf(request);
  }

  /** Members of a JSON object. Names, ids and addresses were checked and need no escapes; a code may be a member's word. */
  toJsonMembers(): string {
    const { deployment, peer, code, count, traceId } = this;
    return (
      `"component":"gateway.request","requestId":"${this.requestId}","remoteAddress":"${this.remoteAddress}",` +
      `"host":"${this.host}","method":"${this.method}","status":${this.status},"bytesIn":${this.bytesIn},` +
      `"bytesOut":${this.bytesOut},"durationMs":${this.durationMs}` +
      servedBy(deployment, this.service, peer) +
      (code === undefined ? '' : `,"code":${JSON.stringify(code)}`) +
      (count === undefined ? '' : `,"count":${count}`) +
      (traceId === undefined ? '' : `,"traceId":"${traceId}"`)
    );
  }
}

/** Who served the last request, and as text: nearly always who serves this one too. */
let served: { deployment: string; service: string | undefined; peer: string | undefined; text: string } | undefined;

function servedBy(deployment: string | undefined, service: string | undefined, peer: string | undefined): string {
  if (deployment === undefined) return '';
  if (served?.deployment === deployment && served.service === service && served.peer === peer) return served.text;
  const by = peer === undefined ? '' : `,"peer":"${peer}"`;
  served = { deployment, service, peer, text: `,"deployment":"${deployment}","service":"${service}"${by}` };
  return served.text;
}

function traceOf({ head: { fields } }: ClientRequest): string | undefined {
  const parent = fields.find(([name]) => name === 'traceparent')?.[1];
  return parent === undefined ? undefined : TRACE.exec(parent)?.[1];
}

/** Says it once a request. */
export function logRequest(logger: Logger, ...entry: ConstructorParameters<typeof RequestEntry>): void {
  logger.info(new RequestEntry(...entry), 'request');
}
