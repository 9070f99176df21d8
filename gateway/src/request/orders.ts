/**
 * Members that order a certificate for a name that is passed through to them. While one does, the handshakes of certificate
 * authorities for that name go to it alone; who says so is a `tcp` stream that the member opens with the name, and it ends
 * with the order. Bound: one order a name, each at most {@link ORDER_MS}; a second one is refused with `ORDER_RUNNING`.
 */
import { ACME_TLS_PROTOCOL } from '@moat/acme';
import type { ClientHello, Clock, LinkStream, PeerId, Timer } from '@moat/core';
import type { RouteSnapshot } from '../routes/snapshot.ts';

/** Longer than any authority looks for a proof. */
const ORDER_MS = 300_000;

export interface OrdersDeps {
  readonly clock: Clock;
  snapshot(): Pick<RouteSnapshot, 'find'>;
}

interface Order {
  readonly peer: PeerId;
  readonly stream: LinkStream;
  readonly timer: Timer;
}

export class Orders {
  readonly #deps: OrdersDeps;
  readonly #orders = new Map<string, Order>();

  constructor(deps: OrdersDeps) {
    this.#deps = deps;
  }

  /** Who gets the handshake before all others; undefined when it is no authority's, or nobody orders. */
  memberFor(host: string, { protocols }: ClientHello): PeerId | undefined {
    const isProof = protocols.length === 1 && protocols[0] === ACME_TLS_PROTOCOL;
    return isProof ? this.#orders.get(host)?.peer : undefined;
  }

  /** A stream that a member opened: the only ones that a gateway takes. */
  accept(stream: LinkStream): void {
    const { arrival, peer, request } = stream;
    const host = arrival?.servername ?? '';
    const route = this.#deps.snapshot().find(host);
    const isTheirs =
      route?.opaque === 'passthrough' &&
      request.kind === 'tcp' &&
      route.deployment === request.deployment &&
      route.service === request.service &&
      route.members.includes(peer);
    stream.listen({
      onHead: () => undefined,
      onData: () => stream.reset('SERVICE_UNKNOWN'),
      onEnd: () => stream.end(),
      onDrain: () => undefined,
      onClose: () => this.#forget(host, stream),
    });
    if (!isTheirs) return stream.reset('SERVICE_UNKNOWN');
    const running = this.#orders.get(host);
    if (running !== undefined && running.peer !== peer) return stream.reset('ORDER_RUNNING');
    running?.timer.cancel();
    const timer = this.#deps.clock.after(ORDER_MS, () => stream.reset('ORDER_RUNNING'));
    this.#orders.set(host, { peer, stream, timer });
    stream.writeHead({ connected: true });
  }

  #forget(host: string, stream: LinkStream): void {
    const order = this.#orders.get(host);
    if (order?.stream !== stream) return;
    order.timer.cancel();
    this.#orders.delete(host);
  }
}
