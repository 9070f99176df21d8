import type { LinkStream } from '@moat/core';

/** Resets a stream that nobody listens to. */
export function refuse(stream: LinkStream, code: string): void {
  stream.listen(IGNORED);
  stream.reset(code);
}

const IGNORED = {
  onHead: (): void => undefined,
  onData: (): void => undefined,
  onEnd: (): void => undefined,
  onDrain: (): void => undefined,
  onClose: (): void => undefined,
};
