/**
 * How Moat's protocols write on a stream: JSON in one message, or a document in parts: a message of
 * 4 bytes with the whole length (big endian), then messages of 64 KiB and a last one with the rest.
 */
import { MoatError, type MessageStream } from '@moat/core';
import type { ZodSafeParseResult, ZodType } from 'zod';
import { MAX_MESSAGE_BYTES } from './message-stream.ts';

/** Deeper than any message of any protocol. */
const MAX_DEPTH = 64;
/** Up to this many bytes parsing is cheap however they nest. */
const UNSCANNED_BYTES = 64 * 1024;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export function encodeJson(value: unknown): Uint8Array {
  return encoder.encode(JSON.stringify(value));
}

/**
 * @throws `MESSAGE_INVALID` for anything but the UTF-8 JSON of what `schema` says, and, above 64 KiB, for what nests
 * deeper than 64: to parse megabytes of brackets takes a hundred times as long as to count them.
 */
export function decodeJson<T>(bytes: Uint8Array, schema: ZodType<T>): T {
  if (bytes.length > UNSCANNED_BYTES && nestsTooDeep(bytes)) throw invalid(`it nests deeper than ${MAX_DEPTH}`);
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch (cause) {
    throw invalid('not JSON', cause);
  }
  let result: ZodSafeParseResult<T>;
  try {
    result = schema.safeParse(value);
  } catch (cause) {
    // a schema's own checks compare what has a `length`, whatever it is: an object for one throws
    throw invalid('a part of it is of another kind', cause);
  }
  if (!result.success) throw invalid('not the fields this protocol has', result.error);
  return result.data;
}

/** One pass over the bytes; what is no JSON is found by the parser after it. */
function nestsTooDeep(bytes: Uint8Array): boolean {
  let depth = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    const byte = bytes[at];
    if (byte === QUOTE) {
      for (at += 1; at < bytes.length && bytes[at] !== QUOTE; at += 1) if (bytes[at] === BACKSLASH) at += 1;
    } else if (byte === 0x5b || byte === 0x7b) {
      depth += 1;
      if (depth > MAX_DEPTH) return true;
    } else if (byte === 0x5d || byte === 0x7d) {
      depth -= 1;
    }
  }
  return false;
}

/** Runs a parser of another package on a part of a message. @throws `MESSAGE_INVALID` */
export function parsed<T>(parse: (input: unknown) => T, input: unknown): T {
  try {
    return parse(input);
  } catch (cause) {
    throw invalid('a signed object in it is malformed', cause);
  }
}

/** @throws `MESSAGE_TOO_LARGE` before anything is sent, or what `write` throws. */
export async function writeParts(
  stream: MessageStream,
  document: Uint8Array,
  maxBytes: number,
  signal: AbortSignal,
): Promise<void> {
  if (document.length > maxBytes) throw tooLarge(document.length, maxBytes);
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, document.length);
  await stream.write(length, signal);
  for (let at = 0; at < document.length; at += MAX_MESSAGE_BYTES) {
    await stream.write(document.subarray(at, at + MAX_MESSAGE_BYTES), signal);
  }
}

/** @throws `MESSAGE_TOO_LARGE` above `maxBytes`, `MESSAGE_INVALID`, or what `read` throws. */
export async function readParts(stream: MessageStream, maxBytes: number, signal: AbortSignal): Promise<Uint8Array> {
  const header = await stream.read(signal);
  if (header.length !== 4) throw invalid('a document begins with its length');
  const length = new DataView(header.buffer, header.byteOffset).getUint32(0);
  if (length > maxBytes) throw tooLarge(length, maxBytes);
  // what arrives is kept as it comes: a length alone reserves no memory
  const parts: Uint8Array[] = [];
  for (let received = 0; received < length;) {
    const part = await stream.read(signal);
    // crumbs would cost a hundred times their bytes
    if (part.length !== Math.min(MAX_MESSAGE_BYTES, length - received)) throw invalid('a part of the wrong size');
    received += part.length;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

export function invalid(reason: string, cause?: unknown): MoatError<'MESSAGE_INVALID'> {
  return new MoatError(
    'MESSAGE_INVALID',
    `the other side sent a malformed message: ${reason}`,
    cause === undefined ? {} : { cause },
  );
}

function tooLarge(bytes: number, maxBytes: number): MoatError<'MESSAGE_TOO_LARGE'> {
  return new MoatError('MESSAGE_TOO_LARGE', `a document here has at most ${maxBytes} bytes`, { details: { bytes } });
}
