/**
 * Tickets, and what is behind them: reflected, handed on, kept after revocation; and an impostor who has none but a
 * certificate. A ticket is good for one link between the two peers it was made for, in the direction it was made for.
 */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { after, before, suite, test } from 'node:test';
import { TLSSocket, connect as connectTls, createSecureContext } from 'node:tls';
import { certificate, privateKey } from '../../packages/link/test/impostor.ts';
import { FRAME } from '../../packages/link/src/frame.ts';
import { decodeGreeting, encodeGreeting } from '../../packages/link/src/greeting.ts';
import { encodeOpen } from '../../packages/link/src/open.ts';
import { derivePsk, encodePreamble } from '../../packages/link/src/ticket.ts';
import { eventually, within } from '../e2e/machine.ts';
import { pinned, publication } from './pen.ts';
import { Shop } from './shop.ts';
import { Twin } from './twins/twin.ts';

interface Offer {
  readonly type: 'offer';
  readonly tickets: readonly { readonly id: string; readonly secret: string }[];
  readonly port: number;
  readonly kind: 'member' | 'gateway';
  readonly expires: number;
}

suite('tickets', () => {
  let shop: Shop;
  /** A member that asks for links and makes none. */
  let mallory: Twin;
  /** Another member of that kind. */
  let friend: Twin;
  /** A gateway that offers what it likes. */
  let evil: Twin;

  before(async () => {
    friend = await Twin.start({ links: false });
    [mallory, evil] = await Promise.all([Twin.start({ links: false }), Twin.start({ links: false, role: 'gateway' })]);
    shop = await Shop.open({
      more: (opening) => ({
        members: [...opening.members(), pinned('mallory', 10, mallory.peer), pinned('friend', 11, friend.peer)],
        services: [
          ...(opening.draft.services ?? []),
          { name: 'bait', on: ['mallory'], port: 7000, target: '127.0.0.1:7000', protocol: 'tcp' },
        ],
        access: [
          { from: ['app', 'web'], to: ['bait', 'db'] },
          { from: ['mallory', 'friend'], to: ['db'] },
        ],
        publish: [publication('evil', 'web', 'evil.localhost', [evil.address])],
      }),
    });
    mallory.view.holdVersion(shop.pen.version);
    mallory.view.follows = false;
    friend.view.holdVersion(shop.pen.version);
    friend.view.follows = false;
    await eventually('the gateway was shown its publication', async () => evil.bundles.length > 0);
  });

  after(async () => {
    await mallory[Symbol.asyncDispose]();
    await friend[Symbol.asyncDispose]();
    await evil[Symbol.asyncDispose]();
    await shop[Symbol.asyncDispose]();
  });

  /** A ticket that a member gives the twin for a link of its own. */
  async function ticketOf(name: string, of: Twin = mallory): Promise<{ offer: Offer }> {
    const signal = AbortSignal.timeout(15_000);
    const connection = await of.dial(shop.addresses[name] ?? []);
    const offer = await eventually('an offer', async () => {
      const stream = await of.overlay.open(connection, '/moat/link/1', signal);
      await stream.write(Buffer.from('{"type":"ask"}'), signal);
      const message = JSON.parse(Buffer.from(await stream.read(signal)).toString()) as Offer;
      stream.abort(new Error('read'));
      return message.type === 'offer' && message;
    });
    return { offer };
  }

  // A victim makes its key of a ticket from its own PeerId and that of the peer it asked, whatever that peer answers:
  // the twin, asked for a link, answers with a ticket of somebody else, and leads the socket to where it is from.
  test('reflected: a ticket given back to whoever made it opens nothing', async () => {
    const { offer } = await ticketOf('web');
    assert.equal(await handshake(offer, shop.peer('web'), mallory.peer), 'refused');
    const again = await ticketOf('web');
    assert.equal(await handshake(again.offer, shop.peer('web'), shop.peer('web')), 'refused');
  });

  test('handed on: a ticket that one peer made for another opens nothing for a third', async () => {
    for (const [dialer, acceptor] of [
      [shop.peer('app'), mallory.peer],
      [shop.peer('app'), shop.peer('web')],
      [evil.peer, shop.peer('web')],
    ] as const) {
      const { offer } = await ticketOf('web');
      assert.equal(await handshake(offer, dialer, acceptor), 'refused');
    }
  });

  test('of one kind is none of the other', async () => {
    const { offer } = await ticketOf('web');
    assert.equal(await handshake({ ...offer, kind: 'gateway' }, mallory.peer, shop.peer('web')), 'reset');
  });

  test('used twice, late or after its connection: reset before any TLS state', async () => {
    const { offer } = await ticketOf('web');
    assert.equal(await handshake(offer, mallory.peer, shop.peer('web')), 'opened', 'its own ticket, once');
    assert.equal(await handshake(offer, mallory.peer, shop.peer('web')), 'reset', 'the same once more');
  });

  test('a link whose path broke is taken up by nobody else, and ends with the removal of its member', async () => {
    const { offer } = await ticketOf('web');
    const id = Buffer.alloc(16, 9).toString('base64url');
    const link = await channel(offer, mallory.peer, shop.peer('web'));
    const begun = shop.db.open();
    const open = encodeOpen({ deployment: shop.pen.deployment, service: 'db', kind: 'tcp' }, undefined);
    const header = Buffer.alloc(8);
    header.writeUInt32BE((FRAME.open << 24) | open.length, 0);
    header.writeUInt32BE(1, 4);
    link.write(Buffer.concat([encodeGreeting({ kind: 'begins', id, received: 0 }), header, open]));
    await eventually('the stream reached the service', async () => shop.db.open() === begun + 1);
    link.destroy();
    // another member, with a ticket of its own and the id of the link
    const other = await channel((await ticketOf('web', friend)).offer, friend.peer, shop.peer('web'));
    const answer = once(other, 'data').then(([bytes]) => decodeGreeting(bytes as Buffer));
    other.write(encodeGreeting({ kind: 'goes on', id, received: 0 }));
    assert.equal((await answer).kind, 'unknown');
    other.destroy();
    assert.equal(shop.db.open(), begun + 1, 'it waits for its own peer');

    const begin = performance.now();
    await shop.pen.apply(shop.client('hub'), {
      members: shop.contract.members.filter(({ name }) => name !== 'mallory'),
      services: shop.contract.services.filter(({ name }) => name !== 'bait'),
      access: [{ from: ['app', 'friend'], to: ['db'] }],
    });
    await eventually('its stream is gone though nobody was there', async () => shop.db.open() === begun);
    assert.ok(performance.now() - begin < within(2_000), `after ${Math.round(performance.now() - begin)} ms`);
    // it is back for the rest of the suite
    await shop.apply({
      members: [...shop.contract.members, pinned('mallory', 10, mallory.peer)],
      access: [{ from: ['app', 'friend', 'mallory'], to: ['db'] }],
    });
  });

  test('TLS session resumption after revocation resumes nothing', async () => {
    const { offer } = await ticketOf('web');
    const sessions: Buffer[] = [];
    assert.equal(await handshake(offer, mallory.peer, shop.peer('web'), { sessions }), 'opened');
    const spare = await ticketOf('web');
    await shop.apply({
      members: shop.contract.members.filter(({ name }) => name !== 'mallory'),
      services: shop.contract.services.filter(({ name }) => name !== 'bait'),
      access: [{ from: ['app', 'friend'], to: ['db'] }],
    });
    // neither the session, nor a ticket that was given in time and not used, opens the door again
    for (const session of [undefined, ...sessions]) {
      for (const held of [offer, spare.offer]) {
        const outcome = await handshake(held, mallory.peer, shop.peer('web'), session === undefined ? {} : { session });
        assert.equal(outcome, 'reset');
      }
    }
  });

  test('an impostor with a certificate at a gateway’s link port is refused by the member', async () => {
    const context = createSecureContext({ cert: certificate, key: privateKey });
    const outcomes: string[] = [];
    const impostor = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.write(Buffer.of(1));
        const tls = new TLSSocket(socket, { isServer: true, secureContext: context });
        tls.on('secure', () => outcomes.push('finished'));
        tls.on('data', () => outcomes.push('data'));
        tls.on('error', () => undefined);
        tls.on('close', () => outcomes.push('closed'));
      });
    });
    const port = await listening(impostor);
    const connection = await eventually('web is connected', async () => evil.overlay.connections(shop.peer('web'))[0]);
    const signal = AbortSignal.timeout(15_000);
    const stream = await evil.overlay.open(connection, '/moat/link/1', signal);
    const ticket = { id: Buffer.alloc(16, 3).toString('base64url'), secret: Buffer.alloc(32, 4).toString('base64url') };
    await stream.write(
      Buffer.from(JSON.stringify({ type: 'offer', tickets: [ticket], port, kind: 'gateway', expires: 9000 })),
      signal,
    );
    const taken = JSON.parse(Buffer.from(await stream.read(signal)).toString()) as { type: string };
    if (taken.type === 'taken') {
      await eventually('the member gave up', async () => outcomes.includes('closed'));
      assert.ok(!outcomes.includes('data'), 'it said nothing over it');
    }
    impostor.close();
    assert.equal(taken.type, 'taken');
  });
});

/** A channel that a ticket opened. */
async function channel(offer: Offer, dialer: string, acceptor: string): Promise<TLSSocket> {
  let held: TLSSocket | undefined;
  assert.equal(await handshake(offer, dialer, acceptor, { hold: (tls) => (held = tls) }), 'opened');
  return held ?? assert.fail();
}

/** One handshake at a link port: `opened`, `refused` (in TLS) or `reset` (before it). */
async function handshake(
  offer: Offer,
  dialer: string,
  acceptor: string,
  keep: {
    readonly sessions?: Buffer[];
    readonly session?: Buffer;
    /** Gets the socket that opened; without it the socket is closed again. */
    readonly hold?: (tls: TLSSocket) => void;
  } = {},
): Promise<string> {
  const [ticket] = offer.tickets;
  assert.ok(ticket);
  const [id, secret] = [Buffer.from(ticket.id, 'base64url'), Buffer.from(ticket.secret, 'base64url')];
  const socket = connect(offer.port, '127.0.0.1');
  socket.on('error', () => undefined);
  const told = Promise.race([once(socket, 'data').then(() => true), once(socket, 'close').then(() => false)]);
  told.catch(() => undefined);
  socket.write(encodePreamble(offer.kind, id));
  if (!(await told.catch(() => false))) return 'reset';
  const tls = connectTls({
    socket,
    minVersion: 'TLSv1.3',
    ciphers: 'TLS_AES_128_GCM_SHA256',
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ psk: derivePsk(secret, dialer, acceptor, offer.kind), identity: ticket.id }),
    ...(keep.session === undefined ? {} : { session: keep.session }),
  });
  tls.on('session', (session) => keep.sessions?.push(session));
  tls.on('error', () => undefined);
  const opened = await Promise.race([
    // the server finishes first, and only for who has the key (RFC 8446 §4.2.11.2)
    once(tls, 'secureConnect').then(() => true),
    once(tls, 'close').then(() => false),
  ]).catch(() => false);
  if (opened && keep.hold !== undefined) keep.hold(tls);
  else tls.destroy();
  return opened ? 'opened' : 'refused';
}

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
