import { silentLogger, systemClock } from '@moat/core';
import { createChannelPair } from '@moat/testkit';

import { Session } from '../src/session.ts';
import { linkCompliance, type LinkedPair } from './compliance.ts';
import { echo } from './recorder.ts';

function memoryPair(pieceBytes?: number): Promise<LinkedPair> {
  const channels = createChannelPair(pieceBytes === undefined ? {} : { pieceBytes });
  const make = (side: 'dialer' | 'acceptor'): Session =>
    new Session(
      {
        channel: side === 'dialer' ? channels.a : channels.b,
        clock: systemClock,
        logger: silentLogger,
        accept: (stream) => pair.accept(stream, side),
      },
      { peer: '12D3KooWPeer', path: 'direct', dialer: side === 'dialer' },
    );
  const pair: LinkedPair = {
    dialer: make('dialer'),
    acceptor: make('acceptor'),
    accept: (stream) => void echo(stream),
    [Symbol.asyncDispose]() {
      pair.dialer.close('TEST_OVER');
      return Promise.resolve();
    },
  };
  return Promise.resolve(pair);
}

linkCompliance('over memory', () => memoryPair(), { transferBytes: 256 * 2 ** 20 });
linkCompliance('over memory in pieces of 7 bytes', () => memoryPair(7), { transferBytes: 2 ** 20 });
