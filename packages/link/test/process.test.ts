/** Peers that die as machines die. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import { errorCode, silentLogger, systemClock, toBase64url } from '@moat/core';
import { checkLeaks } from '@moat/testkit';

import { PortGuard } from '../src/guard.ts';
import type { SessionLimits } from '../src/limits.ts';
import { Session } from '../src/session.ts';
import { TicketBook } from '../src/ticket.ts';
import { acceptTls } from '../src/transport.tls.ts';
import { ALICE, BOB } from './linked.ts';
import { Recorder } from './recorder.ts';

interface Far extends AsyncDisposable {
  readonly session: Session;
  readonly child: ChildProcess;
}

async function linkProcess(limits: Partial<SessionLimits>): Promise<Far> {
  const tickets = new TicketBook({ clock: systemClock, self: BOB, kind: 'member' });
  const linked = Promise.withResolvers<Session>();
  const guard = new PortGuard({
    clock: systemClock,
    logger: silentLogger,
    spend: (preamble) => tickets.spend(preamble),
    admit: async (socket, ticket) => {
      const channel = await acceptTls(socket, ticket);
      linked.resolve(
        new Session(
          { channel, clock: systemClock, logger: silentLogger, accept: (stream) => stream.reset('TEST_OVER') },
          { peer: ticket.peer, path: 'direct', dialer: false, limits },
        ),
      );
    },
  });
  await guard.listen('127.0.0.1', 0);
  const child = spawn(
    process.execPath,
    ['--conditions=@moat/source', fileURLToPath(new URL('peer-process.ts', import.meta.url))],
    { stdio: ['pipe', 'inherit', 'inherit'] },
  );
  // Starting a process may take longer than a ticket lasts on a busy machine.
  await once(child, 'spawn');
  const ticket = tickets.issue({
    id: 'c',
    peer: ALICE,
    direction: 'inbound',
    remote: null,
    closed: new AbortController().signal,
  });
  child.stdin?.end(
    `${JSON.stringify({
      port: String(guard.port),
      id: toBase64url(ticket.id),
      secret: toBase64url(ticket.secret),
      dialer: ALICE,
      acceptor: BOB,
    })}\n`,
  );
  const session = await linked.promise;
  return {
    session,
    child,
    async [Symbol.asyncDispose]() {
      session.close('TEST_OVER');
      if (child.exitCode === null && child.signalCode === null) {
        const exit = once(child, 'exit');
        child.kill('SIGKILL');
        await exit;
      }
      await session.gone;
      await guard.close();
    },
  };
}

const tcp = { deployment: 'q7f3aaaaaaaaaaaaaaaaaaaaaa', service: 'db', kind: 'tcp' } as const;

test('a killed peer ends the link at once', { timeout: 60_000 }, async () => {
  await using leaks = checkLeaks();
  await using far = await linkProcess({});
  const client = new Recorder(far.session.open(tcp));
  client.stream.write(Buffer.from('hello'));
  await client.head;
  const killedAt = performance.now();
  far.child.kill('SIGKILL');
  assert.equal(await client.closed, 'LINK_CLOSED');
  assert.ok(performance.now() - killedAt < 5000);
  assert.ok(leaks);
});

test('a peer that stands still is given up', { timeout: 60_000 }, async () => {
  await using leaks = checkLeaks();
  await using far = await linkProcess({ heartbeat: { usedMs: 300, idleMs: 1_000, patience: 5 } });
  const client = new Recorder(far.session.open(tcp));
  await client.head;
  far.child.kill('SIGSTOP');
  client.stream.write(Buffer.from('anybody?'));
  assert.equal(await client.closed, 'LINK_DEAD');
  assert.equal(errorCode(far.session.closed.reason), 'LINK_DEAD');
  assert.ok(leaks);
});
