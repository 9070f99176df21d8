/** Passwords that were right, known again without the cost of their hash; what is kept says nothing about them. */
import { createHmac } from 'node:crypto';
import type { ScryptHash } from './basic-users.ts';
import type { BasicCredentials } from './basic-credentials.ts';

/** Bound: `most`; the longest unused is dropped. */
export class RememberedPasswords {
  readonly #key: Uint8Array;
  readonly #most: number;
  /** Order is order of use. */
  readonly #marks = new Set<string>();

  /** @param key 32 random bytes of this process. */
  constructor(key: Uint8Array, most: number) {
    this.#key = key;
    this.#most = most;
  }

  /** Changes with the user's hash, so a password that was changed is not remembered. */
  markOf({ user, password }: BasicCredentials, { salt, hash }: ScryptHash): string {
    const hmac = createHmac('sha256', this.#key);
    for (const part of [Buffer.from(user), salt, hash, password]) hmac.update(`${part.length}:`).update(part);
    return hmac.digest('base64');
  }

  /** Whether it was right before; it counts as used then. */
  knows(mark: string): boolean {
    if (!this.#marks.delete(mark)) return false;
    this.#marks.add(mark);
    return true;
  }

  keep(mark: string): void {
    this.#marks.add(mark);
    const [oldest] = this.#marks;
    if (this.#marks.size > this.#most && oldest !== undefined) this.#marks.delete(oldest);
  }
}
