/**
 * The cookie by which a client stays with one member. It holds no PeerId, which would tell strangers about the network,
 * but a mark made of it with a key of this gateway. Each service of a name has its own cookie, named by such a mark too.
 */
import { createHmac, hkdfSync } from 'node:crypto';
import type { PeerId } from '@moat/core';

const PREFIX = '__Host-moat-member-';
const MARK_BYTES = 12;
const NAME_BYTES = 3;

/** What a client is sent to. */
export interface StickyPlace {
  readonly host: string;
  readonly service: string;
}

export class StickyMarks {
  readonly #key: Buffer;

  /** `secret` is the gateway's own; the same after a restart, so that clients stay. */
  constructor(secret: Uint8Array) {
    this.#key = Buffer.from(hkdfSync('sha256', secret, '', 'moat/sticky/1', 32));
  }

  /** The member that the client was with, among `members`. */
  find(cookie: string | undefined, place: StickyPlace, members: readonly PeerId[]): PeerId | undefined {
    if (cookie === undefined || !cookie.includes(PREFIX)) return undefined;
    const mark = valueOf(cookie, this.#name(place));
    return mark === undefined ? undefined : members.find((peer) => this.#mark(place, peer) === mark);
  }

  /** The field value that keeps a client with `peer`. */
  cookie(place: StickyPlace, peer: PeerId): string {
    return `${this.#name(place)}=${this.#mark(place, peer)}; Path=/; Secure; HttpOnly; SameSite=Lax`;
  }

  #name({ host, service }: StickyPlace): string {
    return PREFIX + this.#mac(['name', host, service], NAME_BYTES);
  }

  #mark({ host, service }: StickyPlace, peer: PeerId): string {
    return this.#mac(['member', host, service, peer], MARK_BYTES);
  }

  #mac(parts: readonly string[], bytes: number): string {
    const mac = createHmac('sha256', this.#key).update(parts.join('\0')).digest();
    return mac.subarray(0, bytes).toString('base64url');
  }
}

/** The cookie field without marks, which are the gateway's own; undefined when nothing is left. */
export function withoutMark(cookie: string): string | undefined {
  if (!cookie.includes(PREFIX)) return cookie;
  const kept = cookie.split(';').filter((pair) => !pair.trim().startsWith(PREFIX));
  const rest = kept.join(';').trim();
  return rest === '' ? undefined : rest;
}

function valueOf(cookie: string, name: string): string | undefined {
  for (const pair of cookie.split(';', 256)) {
    const trimmed = pair.trim();
    if (trimmed.startsWith(`${name}=`)) return trimmed.slice(name.length + 1);
  }
  return undefined;
}
