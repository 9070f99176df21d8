/** Yamux with our bounds: of streams here, of frames that pile up in `gathered-frames.ts`. */
import type { ComponentLogger, Connection, StreamMuxer, StreamMuxerFactory } from '@libp2p/interface';
import { yamux } from '@libp2p/yamux';
import { gathered } from './gathered-frames.ts';

/** Signs of life of one connection, below its streams. */
export interface Pulse {
  /** Milliseconds since bytes came, of whatever kind. */
  quietMs(): number;
  /** When they came, by `performance.now()`. */
  heardAt(): number;
  /** Asks with 12 bytes, which the other side's muxer answers by itself. @throws the signal's reason */
  ping(options: { readonly signal: AbortSignal }): Promise<unknown>;
}

/** Signs of life of a connection that {@link boundedYamux} muxes. */
export function pulseOf(connection: Connection): Pulse {
  // libp2p gives streams of a connection, and not what makes them
  return (connection as unknown as { readonly muxer: StreamMuxer & Pulse }).muxer;
}

/** What libp2p takes as `streamMuxers`. */
export function boundedYamux(): (components: { readonly logger: ComponentLogger }) => StreamMuxerFactory {
  const create = yamux({
    enableKeepAlive: false,
    maxInboundStreams: 64,
    maxOutboundStreams: 256,
    // the cap on unsent bytes resets the stream: our own writers stay far below it
    streamOptions: { maxReadBufferLength: 512 * 1024, maxWriteBufferLength: 4 * 1024 * 1024 },
  });
  return () => {
    const factory = create();
    return {
      protocol: factory.protocol,
      createStreamMuxer: (connection) => {
        const { flush } = gathered(connection);
        const muxer = factory.createStreamMuxer(connection);
        const [close, abort] = [muxer.close.bind(muxer), muxer.abort.bind(muxer)];
        // What they say last leaves before the connection goes.
        muxer.close = (options) => close(options).finally(flush);
        muxer.abort = (error) => {
          abort(error);
          flush();
        };
        let arrivedAt = performance.now();
        connection.addEventListener('message', () => {
          arrivedAt = performance.now();
        });
        return Object.assign(muxer, { quietMs: () => performance.now() - arrivedAt, heardAt: () => arrivedAt });
      },
    };
  };
}
