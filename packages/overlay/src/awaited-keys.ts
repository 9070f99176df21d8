import { addressKey, type Clock, type Endpoint, type InitiationTest, type PeerId } from '@moat/core';
import { PerSecond } from './per-second.ts';
import { Tally } from './tally.ts';

/** Keys awaited at once, in all, of one PeerId and of one address (IPv6: its /64). */
const MAX_AWAITED = 256;
const MAX_PER_PEER = 4;
const MAX_PER_ADDRESS = 16;
/** Tests a second of packets from an address where somebody waits, and of all other packets together. */
const TESTS_PER_ADDRESS = 256;
const TESTS_OF_STRANGERS = 1024;

/** A key for which a handshake may come, and whose it is. */
export interface AwaitedKey {
  readonly peer: PeerId;
  /** Where its connection comes from, as `addressKey` says it. */
  readonly origin: string;
  readonly fits: InitiationTest;
  readonly onSeen: (from: Endpoint) => void;
}

/**
 * Handshakes that somebody waits for. Each is taken once. Bound: 256 keys, 16 an address, 4 a PeerId; more are refused.
 * A packet costs a test a key: those from an address where somebody waits are tried against the keys of that address,
 * 256 tests a second; then, and from anywhere else, against all others, 1,024 tests a second together. Beyond that
 * packets are dropped: whoever floods from other addresses hinders only those whose UDP leaves by another address than
 * their connection.
 */
export class AwaitedKeys {
  readonly #byOrigin = new Map<string, Set<AwaitedKey>>();
  readonly #ofPeer = new Tally();
  readonly #tests: PerSecond;
  readonly #testsOfStrangers: PerSecond;
  #size = 0;

  constructor(clock: Clock) {
    this.#tests = new PerSecond(clock, TESTS_PER_ADDRESS);
    this.#testsOfStrangers = new PerSecond(clock, TESTS_OF_STRANGERS);
  }

  get size(): number {
    return this.#size;
  }

  /** False when there are too many. */
  add(key: AwaitedKey): boolean {
    const ofOrigin = this.#byOrigin.get(key.origin) ?? new Set();
    const full =
      this.#size >= MAX_AWAITED || ofOrigin.size >= MAX_PER_ADDRESS || this.#ofPeer.of(key.peer) >= MAX_PER_PEER;
    if (full) return false;
    this.#byOrigin.set(key.origin, ofOrigin.add(key));
    this.#ofPeer.add(key.peer);
    this.#size += 1;
    return true;
  }

  /** Nothing for a key that was seen meanwhile. */
  remove(key: AwaitedKey): void {
    const ofOrigin = this.#byOrigin.get(key.origin);
    if (ofOrigin?.delete(key) !== true) return;
    if (ofOrigin.size === 0) this.#byOrigin.delete(key.origin);
    this.#ofPeer.remove(key.peer);
    this.#size -= 1;
  }

  /** Tells whoever waits for this packet, if anybody does. */
  take(packet: Uint8Array, from: Endpoint): void {
    const key = this.#find(packet, addressKey(from.host));
    if (key === undefined) return;
    this.remove(key);
    key.onSeen(from);
  }

  #find(packet: Uint8Array, origin: string): AwaitedKey | undefined {
    for (const key of this.#byOrigin.get(origin) ?? []) {
      if (!this.#tests.allow(origin)) break;
      if (key.fits(packet) !== undefined) return key;
    }
    for (const [other, keys] of this.#byOrigin) {
      if (other === origin) continue;
      for (const key of keys) {
        if (!this.#testsOfStrangers.allow('')) return undefined;
        if (key.fits(packet) !== undefined) return key;
      }
    }
    return undefined;
  }
}
