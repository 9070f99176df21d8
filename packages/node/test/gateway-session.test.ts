import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { MoatError, silentLogger, type PeerConnection } from '@moat/core';
import type { PublicationBundle } from '@moat/contract';
import type { PublishAnswer } from '@moat/overlay';
import { createManualClock } from '@moat/testkit';
import { GatewaySession } from '../src/publications/gateway-session.ts';

test('a gateway is dialed at the addresses that contracts give it now, not at all they ever gave', () => {
  const dialed: (readonly string[])[] = [];
  let released = 0;
  const session = new GatewaySession(
    {
      overlay: {
        keep: ({ addresses }) => {
          dialed.push(addresses);
          return () => void (released += 1);
        },
        publish: () => Promise.reject(new Error('not connected')),
        certificates: never,
      },
      links: { connect: () => Promise.reject(new Error('not connected')), get: () => undefined },
      clock: createManualClock(),
      logger: silentLogger,
      bundle: () => undefined,
      onShowing: () => undefined,
      onAnswer: () => undefined,
      onState: () => undefined,
    },
    'gateway',
  );
  session.show('a', ['/ip4/192.0.2.1/tcp/1']);
  session.show('a', ['/ip4/192.0.2.1/tcp/1']);
  session.show('b', ['/ip4/192.0.2.1/tcp/1', '/ip4/192.0.2.2/tcp/1']);
  session.show('a', ['/ip4/192.0.2.3/tcp/1']);
  assert.equal(session.drop('b'), false);
  session.show('a', ['/ip4/192.0.2.3/tcp/1']);
  session.stop();
  assert.deepEqual(dialed, [
    ['/ip4/192.0.2.1/tcp/1'],
    ['/ip4/192.0.2.1/tcp/1', '/ip4/192.0.2.2/tcp/1'],
    ['/ip4/192.0.2.3/tcp/1', '/ip4/192.0.2.1/tcp/1', '/ip4/192.0.2.2/tcp/1'],
    ['/ip4/192.0.2.3/tcp/1'],
  ]);
  assert.equal(released, dialed.length);
});

test('a refusal outlives its connection, a gateway that said nothing does not', async () => {
  const answers: (() => Promise<PublishAnswer>)[] = [
    () => Promise.reject(new MoatError('STREAM_ENDED', 'the other side ended the stream')),
    () => Promise.resolve({ ok: false, code: 'PUBLISHER_REFUSED', message: 'not invited' }),
  ];
  let connect: ((connection: PeerConnection) => void) | undefined;
  const answered: (() => void)[] = [];
  const session = new GatewaySession(
    {
      overlay: {
        keep: ({ onConnection }) => {
          connect = onConnection;
          return () => undefined;
        },
        publish: () => (answers.shift() ?? never)(),
        certificates: never,
      },
      links: { connect: never, get: () => undefined },
      clock: createManualClock(),
      logger: silentLogger,
      bundle: () => ({ proof: { newest: { head: { version: 3 } } } }) as unknown as PublicationBundle,
      onShowing: () => undefined,
      onAnswer: () => answered.shift()?.(),
      onState: () => undefined,
    },
    'gateway',
  );
  session.show('a', []);
  const codes: unknown[] = [];
  for (let round = 0; round < 2; round += 1) {
    const closed = new AbortController();
    const isAnswered = new Promise<void>((resolve) => void answered.push(resolve));
    connect?.({ peer: 'gateway', closed: closed.signal } as unknown as PeerConnection);
    await isAnswered;
    await nextTurn();
    codes.push(codeOf(session));
    closed.abort();
    codes.push(codeOf(session));
  }
  session.stop();
  assert.deepEqual(codes, ['STREAM_ENDED', undefined, 'PUBLISHER_REFUSED', 'PUBLISHER_REFUSED']);
});

function never(): Promise<never> {
  return new Promise(() => undefined);
}

function codeOf(session: GatewaySession): string | undefined {
  const answer = session.answerTo('a')?.answer;
  return answer?.ok === false ? answer.code : undefined;
}
