/**
 * Questions that a key answers by its signature. A question carries its own proof that this gateway asked it, so that
 * asking costs no memory; what was answered is remembered (`answered`, once for all workers) until its time is over.
 */
import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { refusal } from '../errors.ts';
import type { Taken } from './answered.ts';

export interface QuestionsDeps {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Questions of another one are not ours. */
  readonly epoch: Uint8Array;
  /** Whether this is the first answer; where other processes answer too, one of them says it for all. May reject. */
  take(nonce: string, untilMs: number, scope: string): Taken | Promise<Taken>;
}

const LASTS_MS = 120_000;
const NONCE_BYTES = 12;
const TIME_BYTES = 6;
const MAC_BYTES = 16;

export class Questions {
  readonly #deps: QuestionsDeps;
  readonly #key: Buffer;

  /** @param secret the gateway's own, the same in each of its processes. */
  constructor(deps: QuestionsDeps, secret: Uint8Array) {
    this.#deps = deps;
    this.#key = Buffer.from(hkdfSync('sha256', secret, deps.epoch, 'moat/question/1', 32));
  }

  /** A nonce for `host`, base64url. @param lastsMs @defaultValue 120000 */
  ask(host: string, lastsMs: number = LASTS_MS): string {
    const body = Buffer.allocUnsafe(NONCE_BYTES + TIME_BYTES);
    randomBytes(NONCE_BYTES).copy(body);
    body.writeUIntBE(this.#deps.now() + lastsMs, NONCE_BYTES, TIME_BYTES);
    return Buffer.concat([body, this.#mac(body, host)]).toString('base64url');
  }

  /** Takes the answer to `nonce`, once. Rejects with `SIGN_IN_EXPIRED`, `GATEWAY_BUSY` */
  async answer(nonce: string, host: string): Promise<void> {
    const bytes = Buffer.from(nonce, 'base64url');
    const body = bytes.subarray(0, NONCE_BYTES + TIME_BYTES);
    const mac = bytes.subarray(body.length);
    const isOurs = mac.length === MAC_BYTES && timingSafeEqual(mac, this.#mac(body, host));
    const endsMs = isOurs ? body.readUIntBE(NONCE_BYTES, TIME_BYTES) : 0;
    if (!isOurs || endsMs <= this.#deps.now()) throw expired();
    // Written another way it would be another text and the same question.
    const taken = await this.#take(bytes.toString('base64url'), endsMs, host);
    if (taken === 'again') throw expired();
    if (taken === 'full') throw refusal('GATEWAY_BUSY', 'too many people are signing in', { retryable: true });
  }

  async #take(nonce: string, endsMs: number, scope: string): Promise<Taken> {
    try {
      return await this.#deps.take(nonce, endsMs, scope);
    } catch (cause) {
      throw refusal('GATEWAY_BUSY', 'nobody can sign in just now', { cause, retryable: true });
    }
  }

  #mac(body: Uint8Array, host: string): Buffer {
    return createHmac('sha256', this.#key)
      .update(`${host.length}:${host}`)
      .update(body)
      .digest()
      .subarray(0, MAC_BYTES);
  }
}

function expired(): ReturnType<typeof refusal> {
  return refusal('SIGN_IN_EXPIRED', 'this was not asked here, is over or was answered before');
}
