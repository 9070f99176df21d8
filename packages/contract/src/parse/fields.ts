/** The values that objects are made of. Every string has a bound, every list a most. */
import { fromBase64url, isDeploymentId, isLabel, isMoatError, isPeerId, parseKey } from '@moat/core';
import { z } from 'zod';
import { isHostName, peerIdOfMultiaddr } from '../multiaddr.ts';
import { isTarget } from '../target.ts';
import { isTime } from '../time.ts';

type Text = z.ZodType<string>;

export const label: Text = text(63, isLabel, 'a label is 1–63 of a–z, 0–9 and inner hyphens');
export const deploymentId: Text = text(26, isDeploymentId, 'a deployment id is 26 characters of base32');
export const heir: Text = text(
  26,
  (to) => to === 'nobody' || isDeploymentId(to),
  'a name is given to a deployment id, or to nobody',
);
export const peerId: Text = text(64, isPeerId, 'a PeerId of an Ed25519 key is written as 12D3Koo…');
export const ownerKey: Text = text(
  64,
  holds((key) => parseKey('ed25519', key)),
  'a key is written as ed25519:…',
);
export const boxKey: Text = text(
  64,
  holds((key) => parseKey('x25519', key)),
  'a box key is written as x25519:…',
);
export const hash: Text = text(43, base64urlOf(32), 'a hash is 43 characters of base64url');
export const signature: Text = text(86, base64urlOf(64), 'a signature is 86 characters of base64url');
export const random16: Text = text(22, base64urlOf(16), '16 bytes are 22 characters of base64url');
/** Of an invite. */
export const seed: Text = text(43, base64urlOf(32), '32 bytes are 43 characters of base64url');
export const time: Text = text(32, isTime, 'a time is written as 2026-11-20T10:00:00Z');
export const multiaddr: Text = text(512, holds(peerIdOfMultiaddr), 'an address ends in /p2p/<PeerId>');
/** Of a peer that is dialed directly: anchors and gateways. */
export const directAddr: Text = text(
  512,
  (address) => holds(peerIdOfMultiaddr)(address) && address.split('/p2p/').length === 2,
  'an address here reaches its peer directly and ends in /p2p/<PeerId>',
);
export const hostName: Text = text(253, (name) => isHostName(name) && name === name.toLowerCase(), 'not a host name');
export const target: Text = text(320, isTarget, 'a target is written as host:port');
export const wireguardKey: Text = text(44, isWireguardKey, 'a WireGuard key is 44 characters of base64');
export const urlPath: Text = text(512, (path) => /^\/[!-"$-~]*$/.test(path), 'a path begins with /');
/** Of an error. */
export const errorCodeText: Text = text(
  64,
  (code) => /^[A-Z][A-Z0-9_]*$/.test(code),
  'a code is written as GRANT_DENIED',
);
/** A member's name or `tag:<tag>`. */
export const selector: Text = text(
  67,
  (name) => isLabel(name.startsWith('tag:') ? name.slice(4) : name),
  'a member is named as web-1 or tag:web',
);

export const port: z.ZodType<number> = z.int().min(1).max(65_535);
export const version: z.ZodType<number> = z.int().min(0);

/** A list without repetition. */
export function setOf(item: Text, most: number, least = 0): z.ZodType<string[]> {
  return z
    .array(item)
    .min(least)
    .max(most)
    .refine((items) => new Set(items).size === items.length, 'an entry is listed twice');
}

/** A list without repetition, ascending by code units. */
export function sortedSetOf(item: Text, most: number): z.ZodType<string[]> {
  return z.array(item).max(most).refine(isAscending, 'not sorted, or an entry is listed twice');
}

/** Strictly, so that no entry comes twice. */
export function isAscending(items: readonly string[]): boolean {
  return items.every((item, i) => i === 0 || (items[i - 1] ?? '') < item);
}

function text(maxChars: number, is: (text: string) => boolean, otherwise: string): Text {
  // Aborts before the check runs: it then never sees a long string.
  return z.string().max(maxChars, { abort: true }).refine(is, otherwise);
}

function base64urlOf(bytes: number): (text: string) => boolean {
  return (value) => holds(fromBase64url)(value) && fromBase64url(value).length === bytes;
}

function isWireguardKey(key: string): boolean {
  const bytes = Buffer.from(key, 'base64');
  return bytes.length === 32 && bytes.toString('base64') === key;
}

/** Turns a function that throws a coded error into a question. */
function holds(read: (text: string) => unknown): (text: string) => boolean {
  return (value) => {
    try {
      read(value);
      return true;
    } catch (error) {
      if (isMoatError(error)) return false;
      throw error;
    }
  };
}
