/** Errors in the form of docs: what, Cause, Next, Code; or one JSON object. */
import { errorCode, isMoatError, type ErrorBody } from '@moat/core';
import { remediesFor } from './remedies.ts';
import type { Style } from './style.ts';
import { fileReason, fromSystem, listenReason } from './system-error.ts';

/** Any error as plain data; one without a code of ours is `INTERNAL`. */
export function errorBody(error: unknown): ErrorBody {
  if (isMoatError(error)) {
    const plain = error.toBody();
    const reason = plain.cause ?? (plain.code === 'LISTEN_FAILED' ? listenReason(error) : undefined);
    const body =
      reason === undefined ? plain : { ...plain, cause: /^E[A-Z]+$/.test(reason) ? fileReason(reason) : reason };
    return body.next.length === 0 ? { ...body, next: [...remediesFor(body.code)] } : body;
  }
  const system = fromSystem(error);
  if (system !== undefined) return errorBody(system);
  const message = error instanceof Error ? error.message : String(error);
  const code = errorCode(error);
  return {
    code: 'INTERNAL',
    message: code === 'INTERNAL' ? message : `${code}: ${message}`,
    cause: 'this is a bug in Moat, or a failure of the machine that it did not expect',
    next: ['run the command again with MOAT_DEBUG=1 and report what it prints'],
    retryable: false,
  };
}

/** Lines for a person; ends without a newline. */
export function renderError(body: ErrorBody, style: Style): string {
  const [headline = '', ...more] = body.message.split('\n');
  const lines = [`${style.fail} ${style.bold(headline)}`, ...more.map((line) => `  ${line}`)];
  if (body.cause !== undefined) lines.push(`  ${style.dim('Cause')}  ${body.cause}`);
  body.next.forEach((next, i) => lines.push(`  ${style.dim(i === 0 ? 'Next ' : '     ')}  ${next}`));
  lines.push(`  ${style.dim('Code')}   ${body.code}   ${style.dim(`docs/errors.md#${body.code.toLowerCase()}`)}`);
  return lines.join('\n');
}
