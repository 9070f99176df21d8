/**
 * The plain http listener: every known name is sent to https, nothing else is answered, but for the proofs that a
 * certificate authority asks for while an order of ours runs.
 */
import type { ChallengeBoard } from '../certificates/challenge-board.ts';
import { refusal } from '../errors.ts';
import type { RouteSnapshot } from '../routes/snapshot.ts';
import type { ClientRequest } from './client-request.ts';
import { errorAnswer, ownAnswer, type OwnAnswer } from './respond.ts';

export interface RedirectDeps {
  snapshot(): RouteSnapshot;
  readonly challenges?: Pick<ChallengeBoard, 'answerTo'> | undefined;
}

export interface RedirectOptions {
  readonly domain: string;
  /** Port clients reach https on; 443 is left out of URLs. */
  readonly httpsPort: () => number;
}

/** Answers one request on the plain listener. */
export function serveRedirect(deps: RedirectDeps, options: RedirectOptions, request: ClientRequest): void {
  request.listen({ onDrain: () => undefined, onBroken: () => request.answer.destroy(), onClose: () => undefined });
  const { answer } = request;
  const own = redirect(deps, options, request);
  answer.closeAfter();
  answer.writeHead(own.status, own.fields);
  if (request.head.method !== 'HEAD') answer.write(own.body);
  answer.end([]);
}

function redirect(deps: RedirectDeps, options: RedirectOptions, request: ClientRequest): OwnAnswer {
  try {
    const { head } = request;
    if (head.host !== options.domain && !deps.snapshot().isHeld(head.host)) {
      throw refusal('MISDIRECTED', 'no such name is served here');
    }
    const proof = deps.challenges?.answerTo(head.host, head.target.replace(/\?.*$/s, ''));
    if (proof !== undefined) return ownAnswer(200, 'CHALLENGE', 'application/octet-stream', proof, []);
    const port = options.httpsPort();
    const authority = port === 443 ? head.host : `${head.host}:${port}`;
    const location = `https://${authority}${head.target === '*' ? '/' : head.target}`;
    return ownAnswer(308, 'REDIRECT', 'text/plain; charset=utf-8', `${location}\n`, [['location', location]]);
  } catch (error) {
    return errorAnswer(error, request.id, undefined);
  }
}
