/**
 * The first frame each way on a channel of a link that can move: which link this is, and how much of it arrived. The
 * dialer of the channel begins; the other side answers only where a link goes on.
 *
 *   moved frame: 0 begins, 1 goes on, 2 unknown | link id 16 | bytes received u64
 */
import type { ByteChannel } from '@moat/core';

import { FRAME, HEADER_BYTES, MOVED_BYTES, frameError } from './frame.ts';

const KINDS = ['begins', 'goes on', 'unknown'] as const;
const ID_AT = HEADER_BYTES + 1;
const RECEIVED_AT = HEADER_BYTES + 17;
const GREETING_BYTES = HEADER_BYTES + MOVED_BYTES;
export const LINK_ID_BYTES = 16;

/** What the first frame says. */
export interface Greeting {
  readonly kind: (typeof KINDS)[number];
  /** base64url. */
  readonly id: string;
  /** Bytes of the link's frames that arrived, over all its channels. */
  readonly received: number;
}

export function encodeGreeting({ kind, id, received }: Greeting): Buffer {
  const bytes = Buffer.alloc(GREETING_BYTES);
  bytes[0] = FRAME.moved;
  bytes[3] = MOVED_BYTES;
  bytes[HEADER_BYTES] = KINDS.indexOf(kind);
  bytes.write(id, ID_AT, 'base64url');
  bytes.writeBigUInt64BE(BigInt(received), RECEIVED_AT);
  return bytes;
}

/** @throws `FRAME_INVALID` */
export function decodeGreeting(bytes: Buffer): Greeting {
  const kind = KINDS[bytes[HEADER_BYTES] ?? -1];
  const received = Number(bytes.readBigUInt64BE(RECEIVED_AT));
  const isHeader = bytes.readUInt32BE(0) === FRAME.moved * 2 ** 24 + MOVED_BYTES && bytes.readUInt32BE(4) === 0;
  if (!isHeader || kind === undefined || !Number.isSafeInteger(received)) {
    throw frameError('FRAME_INVALID', 'a channel that begins with anything but a greeting', {});
  }
  return { kind, id: bytes.toString('base64url', ID_AT, RECEIVED_AT), received };
}

/**
 * Reads the greeting of a channel. `onGreeting` runs in the turn in which it is whole and sets the channel's handlers;
 * what came with it follows at once. `onFailure` runs instead where there is none; the channel is destroyed then.
 */
export function readGreeting(
  channel: ByteChannel,
  onGreeting: (greeting: Greeting) => void,
  onFailure: (error: Error) => void,
): void {
  const bytes = Buffer.alloc(GREETING_BYTES);
  let length = 0;
  const fail = (error?: Error): void => {
    silence(channel);
    channel.destroy();
    onFailure(error ?? frameError('FRAME_INVALID', 'the channel ended before its greeting', {}));
  };
  channel.onEnd = () => fail();
  channel.onClose = fail;
  channel.onData = (chunk) => {
    const taken = Math.min(chunk.length, GREETING_BYTES - length);
    bytes.set(chunk.subarray(0, taken), length);
    length += taken;
    if (length < GREETING_BYTES) return;
    let greeting: Greeting;
    try {
      greeting = decodeGreeting(bytes);
    } catch (error) {
      return fail(error as Error);
    }
    silence(channel);
    onGreeting(greeting);
    if (taken < chunk.length) channel.onData(chunk.subarray(taken));
  };
}

const ignore = (): void => undefined;

/** Nothing of this channel is heard any more. */
export function silence(channel: ByteChannel): void {
  channel.onData = ignore;
  channel.onDrain = ignore;
  channel.onEnd = ignore;
  channel.onClose = ignore;
}
