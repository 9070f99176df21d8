/** A small body, whole. */
import type { Clock } from '@moat/core';
import { refusal } from '../errors.ts';
import type { ClientRequest } from '../request/client-request.ts';

const BODY_MS = 10_000;

/** At most `maxBytes`, within ten seconds. @throws `BODY_TOO_LARGE`, `CLIENT_STALLED` */
export function readBody(clock: Clock, { head, body }: ClientRequest, maxBytes: number): Promise<Buffer> {
  if (head.bodyless) return Promise.resolve(Buffer.alloc(0));
  return new Promise((resolve, reject) => {
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    const deadline = clock.after(BODY_MS, () => reject(refusal('CLIENT_STALLED', 'the body did not come in time')));
    body.read({
      onData: (chunk) => {
        bytes += chunk.length;
        if (bytes <= maxBytes) {
          chunks.push(Uint8Array.from(chunk));
          return;
        }
        chunks.length = 0;
        deadline.cancel();
        body.pause();
        reject(refusal('BODY_TOO_LARGE', `more than ${maxBytes} bytes sign nobody in`));
      },
      onEnd: () => {
        deadline.cancel();
        resolve(Buffer.concat(chunks));
      },
    });
  });
}
