/**
 * What a process reads from sockets comes in buffers of its own, 16 to 64 KiB each. V8 lets about 48 MiB of them pile
 * up before it looks, and malloc keeps what they leave: 1 GiB each way made an idle gateway up to 110 MiB larger.
 * Looking every {@link EVERY_BYTES} takes about a millisecond and keeps that below 50 (test/e2e/gateway.test.ts guards it).
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: { readonly type: 'minor'; readonly execution: 'sync' }) => void;

const EVERY_BYTES = 8 * 1_024 * 1_024;
/** V8's own measure of its heap sees smaller ones. */
const COUNTED_BYTES = 4 * 1_024;

let collect: Collect | undefined;
let waiting = 0;

/** To call for each chunk of a body or stream: the buffer it was read into is garbage when its turn ends. */
export function noteReadBuffer(bytes: number): void {
  if (bytes < COUNTED_BYTES) return;
  waiting += bytes;
  if (waiting < EVERY_BYTES) return;
  waiting = 0;
  collect ??= collector();
  collect({ type: 'minor', execution: 'sync' });
}

function collector(): Collect {
  setFlagsFromString('--expose-gc');
  const exposed = runInNewContext('gc') as Collect | undefined;
  setFlagsFromString('--no-expose-gc');
  return exposed ?? ((): void => undefined);
}
