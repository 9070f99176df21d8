/** What an attacker at the link port, or between two peers, can do: nothing. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { TLSSocket, connect as connectTls, createSecureContext } from 'node:tls';

import { silentLogger, type ByteChannel, type PeerConnection } from '@moat/core';
import { checkLeaks, createManualClock, type ManualClock } from '@moat/testkit';

import { DEFAULT_GUARD_LIMITS, PortGuard, type GuardLimits } from '../src/guard.ts';
import { TicketBook, derivePsk, encodePreamble, type SpentTicket, type Ticket } from '../src/ticket.ts';
import { acceptTls, dialTls } from '../src/transport.tls.ts';
import { certificate, privateKey } from './impostor.ts';
import { ALICE, BOB } from './linked.ts';

interface Door extends AsyncDisposable {
  readonly port: number;
  readonly guard: PortGuard;
  readonly tickets: TicketBook;
  readonly clock: ManualClock;
  readonly channels: ByteChannel[];
  /** A ticket for Alice. */
  issue(): Ticket;
  /** What Alice makes of a ticket. */
  spent(ticket: Ticket): SpentTicket;
  connection: { closed: AbortController };
}

async function openDoor(limits: Partial<GuardLimits> = {}): Promise<Door> {
  const clock = createManualClock();
  const tickets = new TicketBook({ clock, self: BOB, kind: 'member' });
  const channels: ByteChannel[] = [];
  const guard = new PortGuard(
    {
      clock,
      logger: silentLogger,
      spend: (preamble) => tickets.spend(preamble),
      admit: async (socket, ticket) => void channels.push(await acceptTls(socket, ticket)),
    },
    { ...DEFAULT_GUARD_LIMITS, ...limits },
  );
  await guard.listen('127.0.0.1', 0);
  const closed = new AbortController();
  const connection: PeerConnection = {
    id: 'c',
    peer: ALICE,
    direction: 'inbound',
    remote: { host: '127.0.0.1', port: 1 },
    closed: closed.signal,
  };
  return {
    port: guard.port ?? 0,
    guard,
    tickets,
    clock,
    channels,
    connection: { closed },
    issue: () => tickets.issue(connection),
    spent: ({ id, secret }) => ({
      identity: Buffer.from(id).toString('base64url'),
      psk: derivePsk(secret, ALICE, BOB, 'member'),
      peer: BOB,
    }),
    async [Symbol.asyncDispose]() {
      for (const channel of channels) channel.destroy();
      await guard.close();
    },
  };
}

function dial(door: Door, ticket: Ticket, psk?: Buffer): Promise<ByteChannel> {
  const spent = door.spent(ticket);
  return dialTls({
    host: '127.0.0.1',
    port: door.port,
    preambles: [encodePreamble('member', ticket.id)],
    ticket: psk === undefined ? spent : { ...spent, psk },
    signal: AbortSignal.timeout(10_000),
  });
}

/** Dials raw, sends `bytes`, and tells how the socket closed. */
async function poke(port: number, bytes: Uint8Array): Promise<{ readonly answer: number; readonly code: string }> {
  const socket = connect({ host: '127.0.0.1', port });
  let answer = 0;
  let code = '';
  socket.on('data', (chunk: Buffer) => {
    answer += chunk.length;
  });
  socket.on('error', (error: NodeJS.ErrnoException) => {
    code = error.code ?? '';
  });
  socket.on('connect', () => socket.write(bytes));
  await closing(socket);
  return { answer, code };
}

describe('the port guard', () => {
  test('lets a ticket in once', async () => {
    await using leaks = checkLeaks();
    await using door = await openDoor();
    const ticket = door.issue();
    const channel = await dial(door, ticket);
    await assert.rejects(dial(door, ticket), isRefused);
    channel.destroy();
    assert.ok(leaks);
  });

  test('resets an unknown id, an expired one, and one of another kind without an answer', async () => {
    await using door = await openDoor();
    const unknown = await poke(door.port, encodePreamble('member', randomBytes(16)));
    assert.deepEqual(unknown, { answer: 0, code: 'ECONNRESET' });

    const expired = door.issue();
    door.clock.advance(10_000);
    assert.deepEqual(await poke(door.port, encodePreamble('member', expired.id)), { answer: 0, code: 'ECONNRESET' });

    const other = door.issue();
    assert.deepEqual(await poke(door.port, encodePreamble('gateway', other.id)), { answer: 0, code: 'ECONNRESET' });
    await assert.rejects(dial(door, other), isRefused, 'a ticket shown with the wrong kind is spent');
    assert.equal(door.guard.unfinished, 0);
  });

  test('a ticket dies with the connection it was given on, and with its peer', async () => {
    await using door = await openDoor();
    const revoked = door.issue();
    door.tickets.revoke(ALICE);
    await assert.rejects(dial(door, revoked), isRefused);
    const orphan = door.issue();
    door.connection.closed.abort();
    await assert.rejects(dial(door, orphan), isRefused);
  });

  test('resets who says more than a preamble before it was answered', async () => {
    await using door = await openDoor();
    const ticket = door.issue();
    const bytes = Buffer.concat([encodePreamble('member', ticket.id), Buffer.from('early')]);
    assert.equal((await poke(door.port, bytes)).answer, 0);
    const channel = await dial(door, ticket);
    channel.destroy();
  });

  test('gives silent and stuck sockets 3 s', async () => {
    await using door = await openDoor();
    const silent = connect({ host: '127.0.0.1', port: door.port });
    const stuck = connect({ host: '127.0.0.1', port: door.port });
    silent.on('error', () => undefined);
    stuck.on('error', () => undefined);
    const answered = once(stuck, 'data');
    stuck.write(encodePreamble('member', door.issue().id));
    await answered;
    await until(() => door.guard.unfinished === 2);
    door.clock.advance(2999);
    assert.equal(door.guard.unfinished, 2);
    const closed = Promise.all([closing(silent), closing(stuck)]);
    door.clock.advance(1);
    assert.equal(door.guard.unfinished, 0);
    await closed;
    assert.equal(door.channels.length, 0);
  });

  test('holds 16 unfinished sockets an address: a flood drops its own oldest, and a peer still gets in', async () => {
    await using door = await openDoor();
    const flood: Socket[] = [];
    let closed = 0;
    for (let i = 0; i < 200; i++) {
      const socket = connect({ host: '127.0.0.1', port: door.port });
      socket.on('error', () => undefined);
      socket.on('close', () => {
        closed += 1;
      });
      flood.push(socket);
    }
    await until(() => closed >= 200 - 16);
    assert.equal(door.guard.unfinished, 16);
    const channel = await dial(door, door.issue());
    await until(() => door.channels.length === 1);
    channel.destroy();
    for (const socket of flood) socket.destroy();
  });

  test('holds a bounded number of unfinished sockets in all', async () => {
    await using door = await openDoor({ total: 8, perAddress: 1000 });
    const flood = Array.from({ length: 40 }, () => connect({ host: '127.0.0.1', port: door.port }));
    let closed = 0;
    for (const socket of flood) {
      socket.on('error', () => undefined);
      socket.on('close', () => {
        closed += 1;
      });
    }
    await until(() => closed >= 32);
    assert.equal(door.guard.unfinished, 8);
    for (const socket of flood) socket.destroy();
  });
});

describe('the TLS of a link', () => {
  test('a wrong key proves nothing', async () => {
    await using door = await openDoor();
    await assert.rejects(dial(door, door.issue(), randomBytes(32)), { code: 'TLS_REFUSED' });
    await until(() => door.guard.unfinished === 0);
    assert.equal(door.channels.length, 0);
  });

  test('the key is bound to both peers and the kind', () => {
    const secret = randomBytes(32);
    const keys = [
      derivePsk(secret, ALICE, BOB, 'member'),
      derivePsk(secret, BOB, ALICE, 'member'),
      derivePsk(secret, ALICE, BOB, 'gateway'),
      derivePsk(randomBytes(32), ALICE, BOB, 'member'),
    ];
    assert.equal(new Set(keys.map((key) => key.toString('hex'))).size, keys.length);
    for (const key of keys) assert.equal(key.length, 32);
  });

  test('an impostor with a certificate is refused by the dialer', async () => {
    const context = createSecureContext({ cert: certificate, key: privateKey });
    await using server = await listen((socket) => {
      socket.once('data', () => {
        socket.write(Buffer.of(1));
        new TLSSocket(socket, { isServer: true, secureContext: context }).on('error', () => undefined);
      });
    });
    const ticket: SpentTicket = { identity: 'x', psk: randomBytes(32), peer: BOB };
    await assert.rejects(
      dialTls({
        host: '127.0.0.1',
        port: server.port,
        preambles: [encodePreamble('member', randomBytes(16))],
        ticket,
        signal: AbortSignal.timeout(10_000),
      }),
      { code: 'TLS_REFUSED' },
    );
  });

  test('a dialer without the key, with a certificate, or with TLS 1.2 is refused by the acceptor', async () => {
    await using door = await openDoor();
    for (const options of [
      { rejectUnauthorized: false },
      { rejectUnauthorized: false, cert: certificate, key: privateKey },
      { rejectUnauthorized: false, maxVersion: 'TLSv1.2' as const },
    ]) {
      const socket = await preambled(door, door.issue());
      const tls = connectTls({ socket, ...options });
      tls.on('secureConnect', () => assert.fail('the handshake finished'));
      tls.on('error', () => undefined);
      await closing(tls);
    }
    assert.equal(door.channels.length, 0);
  });

  test('an earlier session resumes nothing', async () => {
    await using door = await openDoor();
    const sessions: Buffer[] = [];
    const first = door.issue();
    const { psk, identity } = door.spent(first);
    const tls = connectTls({
      socket: await preambled(door, first),
      minVersion: 'TLSv1.3',
      ciphers: 'TLS_AES_128_GCM_SHA256',
      pskCallback: () => ({ psk, identity }),
      checkServerIdentity: () => undefined,
    });
    tls.on('session', (session) => sessions.push(session));
    await once(tls, 'secureConnect');
    await until(() => door.channels.length === 1);
    door.channels[0]?.write(Buffer.from('so that the client reads what follows the handshake'));
    await once(tls, 'data');
    const [session] = sessions;
    assert.ok(session, 'OpenSSL sent a ticket');
    tls.destroy();
    // Right preamble, earlier session instead of the new key.
    const again = connectTls({
      socket: await preambled(door, door.issue()),
      minVersion: 'TLSv1.3',
      ciphers: 'TLS_AES_128_GCM_SHA256',
      session,
      rejectUnauthorized: false,
    });
    again.on('secureConnect', () => assert.fail('the session was resumed'));
    again.on('error', () => undefined);
    await closing(again);
    assert.equal(door.channels.length, 1);
  });

  test('a peer that accepts and then says nothing costs the dialer its deadline, no more', async () => {
    await using leaks = checkLeaks();
    await using server = await listen((socket) => socket.on('error', () => undefined));
    const controller = new AbortController();
    const dialing = dialTls({
      host: '127.0.0.1',
      port: server.port,
      preambles: [encodePreamble('member', randomBytes(16))],
      ticket: { identity: 'x', psk: randomBytes(32), peer: BOB },
      signal: controller.signal,
    });
    controller.abort(new Error('too late'));
    await assert.rejects(dialing, /too late/);
    assert.ok(leaks);
  });
});

describe('tickets', () => {
  test('are bounded a peer and in all, the oldest dropped', () => {
    const clock = createManualClock();
    const book = new TicketBook({ clock, self: BOB, kind: 'member' });
    const connection = (peer: string): PeerConnection => ({
      id: peer,
      peer,
      direction: 'inbound',
      remote: null,
      closed: new AbortController().signal,
    });
    const first = book.issue(connection(ALICE));
    for (let i = 0; i < TicketBook.LIMIT_PER_PEER; i++) book.issue(connection(ALICE));
    assert.equal(book.spend(encodePreamble('member', first.id)), undefined);
    const kept = book.issue(connection('kept'));
    for (let i = 0; i < TicketBook.LIMIT; i++) book.issue(connection(`peer-${i}`));
    assert.equal(book.spend(encodePreamble('member', kept.id)), undefined);
    const last = book.issue(connection('last'));
    assert.equal(book.spend(encodePreamble('member', last.id))?.peer, 'last');
  });
});

function isRefused(error: unknown): boolean {
  const code = (error as { code?: string }).code;
  return code === 'ECONNRESET' || code === 'TLS_REFUSED';
}

/** A raw socket whose preamble was accepted. */
async function preambled(door: Door, ticket: Ticket): Promise<Socket> {
  const socket = connect({ host: '127.0.0.1', port: door.port });
  socket.write(encodePreamble('member', ticket.id));
  await once(socket, 'data');
  return socket;
}

async function listen(
  onSocket: (socket: Socket) => void,
): Promise<AsyncDisposable & { readonly port: number; readonly server: Server }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    onSocket(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    server,
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

/** Resolves on `close`; a socket's error is no failure here. */
function closing(socket: Socket): Promise<void> {
  return new Promise((resolve) => socket.once('close', () => resolve()));
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; !condition(); i++) {
    assert.ok(i < 200_000, 'it never happened');
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
}
