/**
 * The anchor's side of splicing: gives out pairs of ids to any PeerId within its quota, and joins the two sockets that
 * show them at the link port. It learns who asked and from where the sockets come, and nothing else.
 */
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';

import { addressKey, toBase64url } from '@moat/core';
import type { Clock, ControlPlane, Logger, MessageStream, PeerConnection, PeerId, Timer } from '@moat/core';

import { createDeadline } from './deadline.ts';
import { PREAMBLE_BYTES, TICKET_ID_BYTES } from './ticket.ts';
import { GO_ON } from './transport.tls.ts';
import { SpliceAccounts, type SpliceAccount } from './splice-account.ts';
import { joinSockets } from './splice-join.ts';
import type { SpliceLimits } from './splice-limits.ts';
import { SPLICE_PROTOCOL, decodeSpliceMessage, encodeSpliceMessage, type SpliceMessage } from './splice-messages.ts';

/** Milliseconds for one question. */
const ANSWER_MS = 5000;

export interface SplicerDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly control: Pick<ControlPlane, 'handle'>;
  /** The link port that others dial, while it is open. */
  readonly port: () => number | undefined;
}

/** One pair of ids: nobody came yet, or one of the two. */
interface Pair {
  readonly peer: PeerId;
  readonly accounts: readonly SpliceAccount[];
  readonly ids: readonly string[];
  readonly timer: Timer;
  first: Socket | undefined;
}

/**
 * Bounds: {@link SpliceLimits}. A pair beyond them is refused with `SPLICE_BUSY`; what runs is never dropped for what
 * comes. A socket without an id that was given out is the port guard's to drop.
 */
export class Splicer {
  readonly #deps: SplicerDeps;
  readonly #limits: SpliceLimits;
  readonly #peers: SpliceAccounts;
  readonly #addresses: SpliceAccounts;
  /** By id; each pair is here twice until one of its sockets came. */
  readonly #pairs = new Map<string, Pair>();
  readonly #running = new Set<() => void>();
  #pending = 0;
  #closed = false;

  constructor(deps: SplicerDeps, limits: SpliceLimits) {
    this.#deps = deps;
    this.#limits = limits;
    this.#peers = new SpliceAccounts(deps.clock, limits, limits.bytesPerSecondPerPeer);
    this.#addresses = new SpliceAccounts(deps.clock, limits, limits.bytesPerSecondPerAddress);
  }

  serve(): void {
    this.#deps.control.handle(SPLICE_PROTOCOL, (stream) => this.#serve(stream), { audience: 'anyone' });
  }

  /** Pairs that wait and splices that run. */
  get load(): { readonly pending: number; readonly joined: number } {
    return { pending: this.#pending, joined: this.#running.size };
  }

  /** Takes a socket whose preamble names an id that was given out and not used; false for every other. */
  take(preamble: Buffer, socket: Socket): boolean {
    const id = toBase64url(preamble.subarray(1, PREAMBLE_BYTES));
    const pair = this.#pairs.get(id);
    if (pair === undefined) return false;
    this.#pairs.delete(id);
    socket.pause();
    if (pair.first === undefined) {
      pair.first = socket;
      return true;
    }
    this.#forget(pair);
    this.#join(pair, pair.first, socket);
    return true;
  }

  /** Joins nobody any more but those who have their ids; what is joined goes on. */
  close(): void {
    this.#closed = true;
  }

  stop(): void {
    for (const pair of new Set(this.#pairs.values())) this.#drop(pair);
    for (const end of this.#running) end();
  }

  async #serve(stream: MessageStream): Promise<void> {
    using deadline = createDeadline(this.#deps.clock, ANSWER_MS, stream.connection.closed);
    const question = decodeSpliceMessage(await stream.read(deadline.signal));
    await stream.write(encodeSpliceMessage(this.#answer(question, stream.connection)), deadline.signal);
    await stream.close();
  }

  #answer(question: SpliceMessage, { peer, remote }: PeerConnection): SpliceMessage {
    const port = this.#deps.port();
    // Over another anchor nobody can be held to a quota of addresses.
    if (port === undefined || remote === null) return { type: 'refused', code: 'SPLICE_REFUSED' };
    if (question.type === 'port?') return { type: 'port', port };
    if (question.type !== 'pair?') return { type: 'refused', code: 'SPLICE_REFUSED' };
    const ofPeer = this.#peers.of(peer);
    const ofAddress = this.#addresses.of(addressKey(remote.host));
    if (this.#closed || this.#isBusy(ofPeer, ofAddress)) return { type: 'refused', code: 'SPLICE_BUSY' };
    const ids = [randomBytes(TICKET_ID_BYTES), randomBytes(TICKET_ID_BYTES)] as const;
    this.#add(peer, [ofPeer, ofAddress], ids);
    return { type: 'pair', ids, port, expires: this.#limits.waitMs };
  }

  #isBusy(ofPeer: SpliceAccount, ofAddress: SpliceAccount): boolean {
    const limits = this.#limits;
    return (
      !ofPeer.asks.allow() ||
      !ofAddress.asks.allow() ||
      this.#pending >= limits.pending ||
      this.#running.size >= limits.joined ||
      ofPeer.pending >= limits.pendingPerPeer ||
      ofAddress.pending >= limits.pendingPerAddress ||
      ofPeer.joined >= limits.joinedPerPeer ||
      ofAddress.joined >= limits.joinedPerAddress
    );
  }

  #add(peer: PeerId, accounts: readonly SpliceAccount[], ids: readonly Uint8Array[]): void {
    const pair: Pair = {
      peer,
      accounts,
      ids: ids.map(toBase64url),
      timer: this.#deps.clock.after(this.#limits.waitMs, () => this.#drop(pair)),
      first: undefined,
    };
    for (const id of pair.ids) this.#pairs.set(id, pair);
    for (const account of accounts) account.pending += 1;
    this.#pending += 1;
  }

  /** The pair is joined or given up; its ids are worth nothing any more. */
  #forget(pair: Pair): void {
    pair.timer.cancel();
    for (const id of pair.ids) this.#pairs.delete(id);
    for (const account of pair.accounts) account.pending -= 1;
    this.#pending -= 1;
  }

  #drop(pair: Pair): void {
    this.#forget(pair);
    pair.first?.resetAndDestroy();
  }

  #join(pair: Pair, first: Socket, second: Socket): void {
    const { clock, logger } = this.#deps;
    const { idleMs, lifeMs, joined } = this.#limits;
    // Pairs given out before may come all at once.
    if (this.#running.size >= joined || first.destroyed || second.destroyed) {
      for (const socket of [first, second]) socket.resetAndDestroy();
      return;
    }
    for (const account of pair.accounts) account.joined += 1;
    for (const socket of [first, second]) socket.write(Buffer.of(GO_ON));
    const startedAt = clock.now();
    const end = joinSockets(first, second, {
      clock,
      idleMs,
      lifeMs,
      debit: (bytes) => {
        let waitMs = 0;
        for (const account of pair.accounts) waitMs = Math.max(waitMs, account.bytes.debit(bytes));
        return waitMs;
      },
      onOver: (bytes) => {
        this.#running.delete(end);
        for (const account of pair.accounts) account.joined -= 1;
        logger.debug({ peer: pair.peer, bytesOut: bytes, durationMs: clock.now() - startedAt }, 'a splice ended');
      },
    });
    this.#running.add(end);
    logger.debug({ peer: pair.peer, count: this.#running.size }, 'a splice runs');
  }
}
