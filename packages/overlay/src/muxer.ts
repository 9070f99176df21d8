/**
 * Yamux with our bounds. It answers pings and refused streams although the peer reads nothing: 12 bytes received become
 * 300 bytes of memory, without end. So frames that pile up end the connection; streams stop by themselves long before.
 */
import type { ComponentLogger, Connection, MessageStream, StreamMuxer, StreamMuxerFactory } from '@libp2p/interface';
import { yamux } from '@libp2p/yamux';

/** Frames that may be sent while the connection takes none. */
const MAX_UNSENT_FRAMES = 4096;

/** Signs of life of one connection, below its streams. */
export interface Pulse {
  /** Milliseconds since bytes came, of whatever kind. */
  quietMs(): number;
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
        const muxer = factory.createStreamMuxer(bounded(connection));
        let arrivedAt = performance.now();
        connection.addEventListener('message', () => {
          arrivedAt = performance.now();
        });
        return Object.assign(muxer, { quietMs: () => performance.now() - arrivedAt });
      },
    };
  };
}

function bounded(connection: MessageStream): MessageStream {
  const send = connection.send.bind(connection);
  let unsent = 0;
  connection.addEventListener('drain', () => {
    unsent = 0;
  });
  connection.send = (data) => {
    const takesMore = send(data);
    if (takesMore) unsent = 0;
    else if (++unsent === MAX_UNSENT_FRAMES) connection.abort(new Error('the peer reads no answers'));
    return takesMore;
  };
  return connection;
}
