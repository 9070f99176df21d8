/** Two ends of one link over channels in memory that a test cuts and replaces at will. */
import { silentLogger, systemClock, type ByteChannel, type Clock, type LinkStream } from '@moat/core';
import { createChannelPair, type MemoryChannelPair } from '@moat/testkit';

import { ResumableChannel } from '../src/channel.resumable.ts';
import { readGreeting } from '../src/greeting.ts';
import { Session } from '../src/session.ts';
import { echo } from './recorder.ts';

export interface MovingEnd {
  readonly session: Session;
  readonly channel: ResumableChannel;
}

export interface MovingPair {
  readonly dialer: MovingEnd;
  readonly acceptor: MovingEnd;
  accept: (stream: LinkStream, side: 'dialer' | 'acceptor') => void;
  /** The channels in use, newest last. */
  readonly paths: MemoryChannelPair[];
  /** How often a path was lost. */
  readonly losses: { dialer: number; acceptor: number };
  /** `side` begins to go on over a new path; resolves when that stands or failed. */
  move(side: 'dialer' | 'acceptor', pieceBytes?: number): Promise<boolean>;
}

export function createMovingPair(clock: Clock = systemClock): MovingPair {
  const first = createChannelPair();
  const end = (side: 'dialer' | 'acceptor', under: ByteChannel): MovingEnd => {
    const channel = new ResumableChannel(
      { clock, onLost: () => (pair.losses[side] += 1) },
      { id: 'AAAAAAAAAAAAAAAAAAAAAA', wins: side === 'dialer' },
      under,
    );
    const session = new Session(
      { channel, resumable: channel, clock, logger: silentLogger, accept: (stream) => pair.accept(stream, side) },
      { peer: '12D3KooWPeer', path: 'direct', dialer: side === 'dialer' },
    );
    return { channel, session };
  };
  const pair: MovingPair = {
    dialer: end('dialer', first.a),
    acceptor: end('acceptor', first.b),
    paths: [first],
    losses: { dialer: 0, acceptor: 0 },
    accept: (stream) => void echo(stream),
    async move(side, pieceBytes) {
      const path = createChannelPair(pieceBytes === undefined ? {} : { pieceBytes });
      pair.paths.push(path);
      const far = side === 'dialer' ? pair.acceptor : pair.dialer;
      readGreeting(
        path.b,
        ({ received }) => {
          if (!far.channel.take(path.b, received)) path.b.destroy();
        },
        () => undefined,
      );
      try {
        await pair[side].channel.move(path.a);
        return true;
      } catch {
        return false;
      }
    },
  };
  return pair;
}
