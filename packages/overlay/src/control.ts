/** Opens and serves protocols on connections: the part of the control plane that knows streams. */
import {
  MoatError,
  type ByteChannel,
  type Clock,
  type HandlerOptions,
  type Logger,
  type MessageStream,
  type PeerConnection,
  errorCode,
} from '@moat/core';
import type { Connection, Libp2p, Stream } from '@libp2p/interface';
import { StreamByteChannel } from './byte-channel.ts';
import type { OverlayConnection } from './connection.ts';
import { Deadline } from './deadline.ts';
import { FramedStream } from './message-stream.ts';
import type { Probation, Rule } from './probation.ts';

/** Milliseconds for a stream to be opened and its protocol agreed on. */
const OPEN_MS = 5000;
/** Milliseconds of silence after which we look whether the path still stands, while the stream goes on waiting. */
const SILENCE_MS = 1000;
/** Milliseconds the peer has to end its direction after a handler is done. */
const LINGER_MS = 5000;
const MAX_STREAMS = 4;

export interface ControlDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly probation: Probation;
  /** A stream of ours got no answer yet: the path may be dead. */
  readonly onSilence: (connection: OverlayConnection) => void;
}

interface Registration {
  readonly protocol: string;
  readonly maxStreams: number;
  readonly serve: (stream: Stream, connection: OverlayConnection) => Promise<void> | void;
}

/** Bound: `maxStreams` of a protocol on one connection, more are reset. */
export class Control {
  readonly #deps: ControlDeps;
  readonly #rules = new Map<string, Rule>();
  readonly #registrations: Registration[] = [];
  #libp2p: Libp2p | undefined;

  constructor(deps: ControlDeps) {
    this.#deps = deps;
  }

  /** Registers what was handled so far; later ones follow at once. */
  async attach(libp2p: Libp2p): Promise<void> {
    this.#libp2p = libp2p;
    await Promise.all(this.#registrations.map((registration) => this.#register(libp2p, registration)));
  }

  /** Who may open a protocol that libp2p itself serves. */
  setRule(protocol: string, rule: Rule): void {
    this.#rules.set(protocol, rule);
  }

  /** The one gate: asked for every inbound stream; a protocol without a rule is for admitted peers. */
  gate(protocol: string, raw: Connection): Promise<void> {
    return this.#deps.probation.gate(this.#deps.probation.of(raw), this.#rules.get(protocol) ?? 'admitted');
  }

  async open(connection: PeerConnection, protocol: string, signal: AbortSignal): Promise<MessageStream> {
    const record = this.#record(connection);
    return new FramedStream(await this.#newStream(record, protocol, signal), record);
  }

  async openBytes(connection: PeerConnection, protocol: string, signal: AbortSignal): Promise<ByteChannel> {
    return new StreamByteChannel(await this.#newStream(this.#record(connection), protocol, signal));
  }

  /** A handler that resolves ends our direction; one that rejects resets the stream. */
  handle(
    protocol: string,
    handler: (stream: MessageStream, connection: OverlayConnection) => Promise<void>,
    rule: Rule,
    maxStreams: number = MAX_STREAMS,
  ): void {
    this.#add(
      {
        protocol,
        maxStreams,
        serve: async (stream, connection) => {
          const framed = new FramedStream(stream, connection);
          try {
            await handler(framed, connection);
          } catch (error) {
            this.#deps.logger.debug(
              { peer: connection.peer, protocol, code: errorCode(error), err: error },
              'stream refused',
            );
            throw error;
          }
          await framed.close();
          this.#linger(stream);
        },
      },
      rule,
    );
  }

  handleBytes(
    protocol: string,
    handler: (channel: ByteChannel, connection: PeerConnection) => void,
    options: HandlerOptions,
  ): void {
    this.#add(
      {
        protocol,
        maxStreams: options.maxStreams ?? MAX_STREAMS,
        serve: (stream, connection) => handler(new StreamByteChannel(stream), connection),
      },
      options.audience,
    );
  }

  /** Serves libp2p streams as they are; a handler that rejects resets the stream. */
  handleRaw(
    protocol: string,
    serve: (stream: Stream, connection: OverlayConnection) => Promise<void>,
    rule: Rule,
    maxStreams: number,
  ): void {
    this.#add({ protocol, maxStreams, serve }, rule);
  }

  #add(registration: Registration, rule: Rule): void {
    this.#rules.set(registration.protocol, rule);
    this.#registrations.push(registration);
    if (this.#libp2p === undefined) return;
    this.#register(this.#libp2p, registration).catch((error: unknown) => {
      this.#deps.logger.error({ protocol: registration.protocol, err: error }, 'protocol not served');
    });
  }

  async #register(libp2p: Libp2p, { protocol, maxStreams, serve }: Registration): Promise<void> {
    await libp2p.handle(protocol, async (stream, raw) => serve(stream, this.#deps.probation.of(raw)), {
      maxInboundStreams: maxStreams,
      maxOutboundStreams: 64,
      runOnLimitedConnection: true,
    });
  }

  #record(connection: PeerConnection): OverlayConnection {
    const record = this.#deps.probation.get(connection.id);
    if (record === undefined) throw gone();
    return record;
  }

  async #newStream(connection: OverlayConnection, protocol: string, signal: AbortSignal): Promise<Stream> {
    using deadline = new Deadline(this.#deps.clock, OPEN_MS, signal);
    const silence = this.#deps.clock.after(SILENCE_MS, () => this.#deps.onSilence(connection));
    try {
      return await connection.raw.newStream(protocol, {
        signal: deadline.signal,
        runOnLimitedConnection: true,
        maxOutboundStreams: 64,
      });
    } catch (cause) {
      signal.throwIfAborted();
      if (connection.closed.aborted) throw gone(cause);
      if (deadline.signal.aborted) {
        throw new MoatError('DEADLINE_PASSED', 'the other side does not answer', { cause, retryable: true });
      }
      throw new MoatError('PROTOCOL_UNSUPPORTED', `the other side does not serve ${protocol} to us`, {
        cause,
        details: { protocol },
      });
    } finally {
      silence.cancel();
    }
  }

  /** A peer that never ends its direction would keep one of its streams counted for ever. */
  #linger(stream: Stream): void {
    if (stream.status !== 'open' && stream.status !== 'closing') return;
    if (stream.remoteWriteStatus === 'closed') return;
    const timer = this.#deps.clock.after(LINGER_MS, () => stream.abort(new Error('not ended by the other side')));
    stream.addEventListener('close', () => timer.cancel(), { once: true });
  }
}

function gone(cause?: unknown): MoatError<'PEER_UNREACHABLE'> {
  return new MoatError('PEER_UNREACHABLE', 'the connection is gone', {
    retryable: true,
    ...(cause === undefined ? {} : { cause }),
  });
}
