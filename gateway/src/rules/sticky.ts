/**
 * The cookie by which a client stays with one member. It holds no PeerId, which would tell strangers about the network,
 * but a mark made of it with a key of this gateway.
 */
import { createHmac, hkdfSync } from 'node:crypto';
import type { PeerId } from '@moat/core';

const NAME = '__Host-moat-member';
const MARK_BYTES = 12;

export class StickyMarks {
  readonly #key: Buffer;

  /** `secret` is the gateway's own; the same after a restart, so that clients stay. */
  constructor(secret: Uint8Array) {
    this.#key = Buffer.from(hkdfSync('sha256', secret, '', 'moat/sticky/1', 32));
  }

  /** The member that the client was with, among `members`. */
  find(cookie: string | undefined, host: string, members: readonly PeerId[]): PeerId | undefined {
    const mark = cookie === undefined ? undefined : valueOf(cookie);
    return mark === undefined ? undefined : members.find((peer) => this.#mark(host, peer) === mark);
  }

  /** The field value that keeps a client with `peer`. */
  cookie(host: string, peer: PeerId): string {
    return `${NAME}=${this.#mark(host, peer)}; Path=/; Secure; HttpOnly; SameSite=Lax`;
  }

  #mark(host: string, peer: PeerId): string {
    const mac = createHmac('sha256', this.#key).update(host).update('\0').update(peer).digest();
    return mac.subarray(0, MARK_BYTES).toString('base64url');
  }
}

/** The cookie field without the mark, which is the gateway's own; undefined when nothing is left. */
export function withoutMark(cookie: string): string | undefined {
  const kept = cookie.split(';').filter((pair) => !pair.trim().startsWith(`${NAME}=`));
  const rest = kept.join(';').trim();
  return rest === '' ? undefined : rest;
}

function valueOf(cookie: string): string | undefined {
  for (const pair of cookie.split(';', 256)) {
    const trimmed = pair.trim();
    if (trimmed.startsWith(`${NAME}=`)) return trimmed.slice(NAME.length + 1);
  }
  return undefined;
}
