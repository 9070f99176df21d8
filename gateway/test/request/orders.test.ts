/** Members that order a certificate for a name that is passed through to them: who gets the authority's handshakes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AcceptHead, Arrival, LinkStream, OpenRequest, StreamEvents } from '@moat/core';
import { createManualClock } from '@moat/testkit';
import { Orders } from '../../src/request/orders.ts';
import { Routes } from '../../src/routes/snapshot.ts';

const HOST = 'shop.apps.test';
const PROOF = { serverName: HOST, protocols: ['acme-tls/1'] };

/** A stream that a member opened. */
class Announcement implements LinkStream {
  readonly request: OpenRequest;
  readonly peer: string;
  readonly requestHead: undefined;
  readonly arrival: Arrival;
  /** What became of it: taken, or the code of its reset. */
  answer = '';
  #events: StreamEvents | undefined;

  constructor(peer: string, changes: Partial<OpenRequest> = {}, servername: string = HOST) {
    this.peer = peer;
    this.request = { deployment: 'd', service: 'web', kind: 'tcp', ...changes };
    this.arrival = { servername };
  }

  listen(events: StreamEvents): void {
    this.#events = events;
  }

  writeHead(head: AcceptHead): void {
    assert.deepEqual(head, { connected: true });
    this.answer = 'taken';
  }

  reset(code: string): void {
    this.answer = code;
    this.#events?.onClose(code);
  }

  say(bytes: string): void {
    this.#events?.onData(Buffer.from(bytes));
  }

  write(): boolean {
    return true;
  }

  end(): void {}
  pause(): void {}
  resume(): void {}
}

function table(): { orders: Orders; routes: Routes; clock: ReturnType<typeof createManualClock> } {
  const clock = createManualClock(0);
  const routes = new Routes({ now: () => clock.now(), random: Math.random });
  const spec = { host: HOST, deployment: 'd', service: 'web', members: ['m1', 'm2'], opaque: 'passthrough' } as const;
  routes.swap([spec, { ...spec, host: 'ended.apps.test', opaque: 'terminated' }], [HOST]);
  return { orders: new Orders({ clock, snapshot: () => routes }), routes, clock };
}

test('while a member orders, the authority meets it and nobody else does', () => {
  const { orders } = table();
  const order = new Announcement('m2');
  assert.equal(orders.memberFor(HOST, PROOF), undefined);
  orders.accept(order);
  assert.equal(order.answer, 'taken');
  assert.equal(orders.memberFor(HOST, PROOF), 'm2');
  assert.equal(orders.memberFor(HOST, { ...PROOF, protocols: ['h2', 'acme-tls/1'] }), undefined);
  assert.equal(orders.memberFor(HOST, { ...PROOF, protocols: [] }), undefined);
  order.reset('ORDER_ENDED');
  assert.equal(orders.memberFor(HOST, PROOF), undefined);
});

test('one order a name: another member waits, the same one begins anew', () => {
  const { orders } = table();
  const [first, second, again] = [new Announcement('m1'), new Announcement('m2'), new Announcement('m1')];
  for (const each of [first, second, again]) orders.accept(each);
  assert.deepEqual([first.answer, second.answer, again.answer], ['taken', 'ORDER_RUNNING', 'taken']);
  first.reset('ORDER_ENDED');
  assert.equal(orders.memberFor(HOST, PROOF), 'm1', 'the newer one counts');
});

test('an order ends by itself, so that nobody keeps the others from theirs', () => {
  const { orders, clock } = table();
  const first = new Announcement('m1');
  orders.accept(first);
  clock.advance(300_001);
  assert.equal(first.answer, 'ORDER_RUNNING');
  const second = new Announcement('m2');
  orders.accept(second);
  assert.equal(second.answer, 'taken');
});

test('nobody orders for what is not passed through to it, and nothing else is taken', () => {
  const { orders } = table();
  for (const announcement of [
    new Announcement('stranger'),
    new Announcement('m1', { deployment: 'other' }),
    new Announcement('m1', { service: 'db' }),
    new Announcement('m1', { kind: 'http' }),
    new Announcement('m1', {}, 'ended.apps.test'),
    new Announcement('m1', {}, 'unknown.apps.test'),
  ]) {
    orders.accept(announcement);
    assert.equal(announcement.answer, 'SERVICE_UNKNOWN');
  }
  const talking = new Announcement('m1');
  orders.accept(talking);
  talking.say('GET / HTTP/1.1');
  assert.equal(talking.answer, 'SERVICE_UNKNOWN');
  assert.equal(orders.memberFor(HOST, PROOF), undefined);
});
