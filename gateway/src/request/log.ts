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

export function logRequest(
  logger: Logger,
  request: ClientRequest,
  outcome: Outcome,
  rest: { readonly delivered: boolean; readonly durationMs: number },
): void {
  const code = outcome.code ?? (rest.delivered ? undefined : 'CLIENT_GONE');
  logger.info(
    {
      component: 'gateway.request',
      requestId: request.id,
      remoteAddress: request.client.address,
      host: request.servername,
      method: request.head.method.slice(0, 32),
      status: outcome.status,
      bytesIn: request.body.receivedBytes,
      bytesOut: request.answer.sentBytes,
      durationMs: Math.round(rest.durationMs),
      ...(outcome.deployment === undefined ? {} : { deployment: outcome.deployment, service: outcome.service }),
      ...(outcome.peer === undefined ? {} : { peer: outcome.peer }),
      ...(code === undefined ? {} : { code }),
      // More than one member was asked.
      ...(outcome.attempts !== undefined && outcome.attempts > 1 ? { count: outcome.attempts } : {}),
    },
    'request',
  );
}
