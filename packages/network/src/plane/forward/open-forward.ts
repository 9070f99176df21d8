/** `/moat/forward/1`, at a member that asks for it. */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import {
  MoatError,
  type Clock,
  type ControlPlane,
  type Endpoint,
  type MessageStream,
  type PeerConnection,
} from '@moat/core';
import { createDeadline, orAborted } from '../deadline.ts';
import { FORWARD_PROTOCOL, decodeForwardAnswer, encodeForward, type ForwardPair } from './forward-messages.ts';
import type { ForwardSession } from '../paths/path-ports.ts';

/** Milliseconds for a direct connection to stand, where an anchor relays the one that does. */
const DIRECT_MS = 2000;
/** Milliseconds for the answer, and to say that we leave. */
const ASK_MS = 5000;

export interface OpenForwardDeps {
  readonly control: Pick<ControlPlane, 'open' | 'connections' | 'improve' | 'onAdmitted'>;
  readonly clock: Clock;
}

/**
 * Joins the session of a pair, or begins it. Packets go to the address at which the forwarder itself is connected to us,
 * so a hostile one cannot have us send to anybody else.
 * @throws `FORWARD_REFUSED`, `FORWARD_BUSY`, `FORWARD_INVALID`, and what the control plane throws
 */
export async function openForward(
  { control, clock }: OpenForwardDeps,
  known: PeerConnection,
  pair: ForwardPair,
  signal: AbortSignal,
): Promise<ForwardSession> {
  const { connection, host } = await directly({ control, clock }, known, signal);
  using deadline = createDeadline(clock, ASK_MS, signal);
  const address = isIP(host) !== 0 ? host : (await orAborted(lookup(host), deadline.signal)).address;
  const stream = await control.open(connection, FORWARD_PROTOCOL, deadline.signal);
  try {
    await stream.write(encodeForward({ type: 'ask', ...pair }), deadline.signal);
    const answer = decodeForwardAnswer(await stream.read(deadline.signal));
    if (answer.type === 'session') return new Session(stream, clock, { host: address, port: answer.port }, answer.key);
    const code = answer.type === 'refused' ? answer.code : 'FORWARD_INVALID';
    throw new MoatError(code, 'the forwarder gives no session', { retryable: code === 'FORWARD_BUSY' });
  } catch (error) {
    stream.abort(error as Error);
    throw error;
  }
}

/** The connection itself, or a direct one to the same peer once it stands. @throws `FORWARD_REFUSED` */
async function directly(
  { control, clock }: OpenForwardDeps,
  known: PeerConnection,
  signal: AbortSignal,
): Promise<{ readonly connection: PeerConnection; readonly host: string }> {
  if (known.remote !== null) return { connection: known, host: known.remote.host };
  const { peer } = known;
  const look = (): { readonly connection: PeerConnection; readonly host: string } | undefined => {
    const connection = control.connections(peer).find(({ remote }) => remote !== null);
    return connection === undefined || connection.remote === null
      ? undefined
      : { connection, host: connection.remote.host };
  };
  const now = look();
  if (now !== undefined) return now;
  using deadline = createDeadline(clock, DIRECT_MS, signal);
  const found = Promise.withResolvers<NonNullable<ReturnType<typeof look>>>();
  const unsubscribe = control.onAdmitted(() => {
    const there = look();
    if (there !== undefined) found.resolve(there);
  });
  try {
    control.improve(peer);
    return await orAborted(found.promise, deadline.signal);
  } catch (cause) {
    signal.throwIfAborted();
    throw new MoatError('FORWARD_REFUSED', 'the forwarder is not reached directly', { cause });
  } finally {
    unsubscribe();
  }
}

class Session implements ForwardSession {
  readonly endpoint: Endpoint;
  readonly key: string;
  readonly #stream: MessageStream;
  readonly #clock: Clock;
  readonly #learned = Promise.withResolvers<Endpoint>();
  readonly #closing = new AbortController();

  constructor(stream: MessageStream, clock: Clock, endpoint: Endpoint, key: string) {
    this.endpoint = endpoint;
    this.key = key;
    this.#stream = stream;
    this.#clock = clock;
    this.#learned.promise.catch(() => undefined);
    void this.#listen();
  }

  get learned(): Promise<Endpoint> {
    return this.#learned.promise;
  }

  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  close(): void {
    if (this.#closing.signal.aborted) return;
    this.#over(new MoatError('FORWARD_OVER', 'this side left'));
    void this.#leave();
  }

  async #leave(): Promise<void> {
    using deadline = createDeadline(this.#clock, ASK_MS, this.#stream.connection.closed);
    try {
      await this.#stream.write(encodeForward({ type: 'leave' }), deadline.signal);
      await this.#stream.close();
    } catch (error) {
      this.#stream.abort(error as Error);
    }
  }

  /** Every further address is told too; only the first is waited for. */
  async #listen(): Promise<void> {
    try {
      for (;;) {
        const answer = decodeForwardAnswer(await this.#stream.read(this.closed));
        if (answer.type !== 'learned') throw new MoatError('FORWARD_INVALID', 'one session at a time');
        this.#learned.resolve({ host: answer.host, port: answer.port });
      }
    } catch (error) {
      if (this.closed.aborted) return;
      this.#stream.abort(error as Error);
      this.#over(error as Error);
    }
  }

  #over(reason: Error): void {
    this.#learned.reject(reason);
    this.#closing.abort(reason);
  }
}
