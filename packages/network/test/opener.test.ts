import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { MoatError, systemClock, type Link, type LinkStream, type Links, type StreamEvents } from '@moat/core';
import type { HeldStream } from '../src/held-stream.ts';
import { Opener } from '../src/opener.ts';
import { DEPLOYMENT, PEERS } from './shop.ts';

const NEVER = new AbortController().signal;
const REQUEST = { deployment: DEPLOYMENT, service: 'db', kind: 'tcp' } as const;

/** An instance whose answer is whatever `answer` does with the events. */
function openerOf(answer: (events: StreamEvents) => void): Opener {
  const stream = {
    request: REQUEST,
    peer: PEERS.db1,
    requestHead: undefined,
    listen: (events: StreamEvents) => void setImmediate(() => answer(events)),
    write: () => true,
    writeHead: () => undefined,
    end: () => undefined,
    reset: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
  } satisfies LinkStream;
  const link = { open: () => stream } as unknown as Link;
  const links = { get: () => link, connect: () => Promise.resolve(link) } as unknown as Links;
  return new Opener({ links, clock: systemClock, random: () => 0, openLocal: () => stream });
}

suite('opener', () => {
  test('a stream is known from its answer to its end', async () => {
    const opened = new Set<HeldStream>();
    let end = (): void => undefined;
    const opener = openerOf((events) => {
      events.onHead({ connected: true });
      end = () => events.onClose(undefined);
    });
    const stream = await opener.open(REQUEST, [{ peer: PEERS.db1, local: false }], NEVER, opened);
    assert.deepEqual([...opened], [stream]);
    end();
    assert.equal(opened.size, 0);
  });

  test('one that an instance takes and ends in the same breath is not kept', async () => {
    const opened = new Set<HeldStream>();
    const opener = openerOf((events) => {
      events.onHead({ connected: true });
      events.onData(Buffer.alloc(1024));
      events.onClose('SERVICE_RESET');
    });
    for (let i = 0; i < 10; i++) {
      await opener.open(REQUEST, [{ peer: PEERS.db1, local: false }], NEVER, opened);
    }
    assert.equal(opened.size, 0);
  });

  test('a machine that cannot be reached is said in words', async () => {
    const links = {
      get: () => undefined,
      connect: () => Promise.reject(new MoatError('PEER_UNREACHABLE', 'db-1 cannot be reached')),
    } as unknown as Links;
    const openLocal = (): never => assert.fail('no local instance');
    const opener = new Opener({ links, clock: systemClock, random: () => 0, openLocal });
    await assert.rejects(opener.open(REQUEST, [{ peer: PEERS.db1, local: false }], NEVER, new Set()), {
      code: 'SERVICE_UNREACHABLE',
      reason: 'db-1 cannot be reached (PEER_UNREACHABLE)',
    });
  });
});
