/**
 * Questions that a key answers by its signature. A question carries its own proof that this gateway asked it, so that
 * asking costs no memory; what was answered is remembered until its time is over, so that it is answered once.
 * Bound: {@link MAX_ANSWERED}; above it nobody signs in until the oldest are over.
 */
import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { refusal } from '../errors.ts';

export interface QuestionsDeps {
  /** Milliseconds since the epoch. */
  now(): number;
}

const LASTS_MS = 120_000;
const MAX_ANSWERED = 10_000;
const NONCE_BYTES = 12;
const TIME_BYTES = 6;
const MAC_BYTES = 16;

export class Questions {
  readonly #deps: QuestionsDeps;
  readonly #key: Buffer;
  /** Nonce to its end; in the order of answers. */
  readonly #answered = new Map<string, number>();

  /** @param secret the gateway's own, the same in each of its processes. */
  constructor(deps: QuestionsDeps, secret: Uint8Array) {
    this.#deps = deps;
    this.#key = Buffer.from(hkdfSync('sha256', secret, '', 'moat/question/1', 32));
  }

  /** A nonce for `host`, base64url. @param lastsMs @defaultValue 120000 */
  ask(host: string, lastsMs: number = LASTS_MS): string {
    const body = Buffer.allocUnsafe(NONCE_BYTES + TIME_BYTES);
    randomBytes(NONCE_BYTES).copy(body);
    body.writeUIntBE(this.#deps.now() + lastsMs, NONCE_BYTES, TIME_BYTES);
    return Buffer.concat([body, this.#mac(body, host)]).toString('base64url');
  }

  /** Takes the answer to `nonce`, once. @throws `SIGN_IN_EXPIRED`, `GATEWAY_BUSY` */
  answer(nonce: string, host: string): void {
    const bytes = Buffer.from(nonce, 'base64url');
    const body = bytes.subarray(0, NONCE_BYTES + TIME_BYTES);
    const mac = bytes.subarray(body.length);
    const isOurs = mac.length === MAC_BYTES && timingSafeEqual(mac, this.#mac(body, host));
    const now = this.#deps.now();
    const endsMs = isOurs ? body.readUIntBE(NONCE_BYTES, TIME_BYTES) : 0;
    // Written another way it would be another text and the same question.
    const key = bytes.toString('base64url');
    if (!isOurs || endsMs <= now || this.#answered.has(key)) {
      throw refusal('SIGN_IN_EXPIRED', 'this was not asked here, is over or was answered before');
    }
    if (this.#answered.size >= MAX_ANSWERED) this.#forget(now);
    if (this.#answered.size >= MAX_ANSWERED) {
      throw refusal('GATEWAY_BUSY', 'too many people are signing in', { retryable: true });
    }
    this.#answered.set(key, endsMs);
  }

  #forget(now: number): void {
    for (const [nonce, endsMs] of this.#answered) {
      if (endsMs <= now) this.#answered.delete(nonce);
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
