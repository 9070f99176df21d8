/**
 * Compression of answers that a service did not compress: which coding, and the bytes. What comes in one turn of the loop
 * leaves in one flush, so that an answer that trickles still arrives as it is written.
 */
import { constants, createBrotliCompress, createGzip, type BrotliCompress, type Gzip } from 'node:zlib';
import type { FieldList } from '@moat/core';

export type Coding = 'br' | 'gzip';

/** Below this a coding costs more than it saves. */
const MIN_BYTES = 1_024;
/** Text, and what is text inside. An event stream is left alone: proxies on its way wait for whole blocks. */
const COMPRESSIBLE =
  /^(?:text\/(?!event-stream)|application\/(?:json|javascript|manifest\+json|wasm|xml|[\w.-]+\+(?:json|xml))|image\/svg\+xml|font\/(?:ttf|otf))/i;

/** What decides whether an answer is compressed. */
export interface CompressibleAnswer {
  readonly status: number;
  readonly fields: FieldList;
  readonly hasBody: boolean;
  /** Bytes announced; undefined = until its end. */
  readonly contentLength: number | undefined;
}

/** The coding to use, or undefined to leave the answer as it is. */
export function chooseCoding(accepted: string | undefined, answer: CompressibleAnswer): Coding | undefined {
  const { status, fields, hasBody, contentLength } = answer;
  if (!hasBody || accepted === undefined || (contentLength !== undefined && contentLength < MIN_BYTES))
    return undefined;
  // A part of a resource is a part of its bytes, whatever the coding.
  if (status === 206 || status < 200) return undefined;
  let isText = false;
  for (const [name, value] of fields) {
    if (name === 'content-encoding' || name === 'content-range') return undefined;
    if (name === 'cache-control' && /(?:^|[\s,])no-transform(?:$|[\s,])/i.test(value)) return undefined;
    if (name === 'content-type') isText = COMPRESSIBLE.test(value);
  }
  return isText ? preferred(accepted) : undefined;
}

/** The fields of an answer that is compressed: no length, another representation (RFC 9110 §8.4, §8.8.3, §12.5.5). */
export function codedFields(fields: FieldList, coding: Coding): FieldList {
  const kept = fields.flatMap((field): FieldList => {
    const [name, value] = field;
    if (name === 'content-length' || name === 'accept-ranges' || name === 'content-md5' || name === 'digest') return [];
    // The bytes differ, so a strong validator would lie.
    if (name === 'etag' && !value.startsWith('W/')) return [['etag', `W/${value}`]];
    return [field];
  });
  const varies = kept.some(
    ([name, value]) => name === 'vary' && /(?:^|[\s,])(?:\*|accept-encoding)(?:$|[\s,])/i.test(value),
  );
  return [...kept, ['content-encoding', coding], ...(varies ? [] : [['vary', 'accept-encoding'] as const])];
}

export interface CompressorEvents {
  /** `chunk` is the receiver's. */
  onData(chunk: Uint8Array): void;
  onEnd(): void;
  /** More may be written again. */
  onDrain(): void;
}

/** Answers compressed at once in this process: clients that read slowly keep them, and each keeps up to 1 MiB. */
const MAX_RUNNING = 256;

/** Bound: 0.4 (gzip) to 0.9 MiB (brotli) each, measured, and {@link MAX_RUNNING} of them: above it nothing is compressed. */
export class Compressor {
  static #running = 0;

  /** False = leave an answer as it is. */
  static get hasRoom(): boolean {
    return Compressor.#running < MAX_RUNNING;
  }

  readonly #stream: Gzip | BrotliCompress;
  #flushing = false;
  #ended = false;

  constructor(coding: Coding, events: CompressorEvents) {
    this.#stream =
      coding === 'br'
        ? createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 4, [constants.BROTLI_PARAM_LGWIN]: 18 } })
        : createGzip({ level: 5 });
    Compressor.#running += 1;
    this.#stream
      // Follows the end of all that was read, and `destroy`.
      .once('close', () => (Compressor.#running -= 1))
      .on('data', (chunk: Buffer) => events.onData(chunk))
      .on('end', () => events.onEnd())
      .on('drain', () => events.onDrain());
  }

  /** Copies `chunk`; false = wait for `onDrain`. */
  write(chunk: Uint8Array): boolean {
    const more = this.#stream.write(Buffer.from(chunk));
    if (!this.#flushing) {
      this.#flushing = true;
      setImmediate(() => {
        this.#flushing = false;
        if (!this.#ended && !this.#stream.destroyed) this.#stream.flush();
      });
    }
    return more;
  }

  end(): void {
    this.#ended = true;
    this.#stream.end();
  }

  /** The client takes no more for now. */
  pause(): void {
    this.#stream.pause();
  }

  resume(): void {
    this.#stream.resume();
  }

  destroy(): void {
    this.#ended = true;
    this.#stream.destroy();
  }
}

/** Of equals brotli; what is not named is not wanted, unless `*` is (RFC 9110 §12.5.3). */
function preferred(accepted: string): Coding | undefined {
  const quality = new Map<string, number>();
  for (const part of accepted.toLowerCase().split(',', 32)) {
    const [coding = '', ...parameters] = part.split(';').map((text) => text.trim());
    const q = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
    quality.set(coding, q === undefined ? 1 : /^(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)$/.test(q) ? Number(q) : 0);
  }
  const of = (coding: string): number => quality.get(coding) ?? quality.get('*') ?? 0;
  const [br, gzip] = [of('br'), of('gzip')];
  if (br === 0 && gzip === 0) return undefined;
  return br >= gzip ? 'br' : 'gzip';
}
