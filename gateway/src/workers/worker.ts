/** One traffic worker: the whole way of a request, over links that the control process hands over. */
import type { SendHandle } from 'node:child_process';
import { Socket } from 'node:net';
import type { Clock, Link, Logger } from '@moat/core';
import { SocketChannel, createWorkerLinks, type SpentTicket, type WorkerLinks } from '@moat/link';
import type { AccessLog } from '../access-log.ts';
import type { EdgeSettings } from '../config.ts';
import { ChallengeBoard } from '../certificates/challenge-board.ts';
import { SecureContexts, type CertificatePair } from '../certificates/contexts.ts';
import { PublicEdge } from '../request/public-edge.ts';
import { newRequestId } from '../request/request-id.ts';
import type { GatewayIdentity } from '../request/self.ts';
import { Routes } from '../routes/snapshot.ts';
import { farewellMs } from './farewell.ts';
import type { Taken } from '../sign-in/answered.ts';
import type { Ipc } from './ipc.ts';
import type { ControlQuestion, FromWorker, ToWorker, WorkerCounts, WorkerQuestion, WorkerStart } from './protocol.ts';

export interface TrafficWorkerDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** Where lines of requests go. */
  readonly access: Pick<AccessLog, 'reopen'>;
  readonly ipc: Pick<Ipc<FromWorker, ToWorker, WorkerQuestion, ControlQuestion>, 'say' | 'ask'>;
  /** Everything ended: the process may. */
  onDone(): void;
}

/** Descriptors under which a worker inherits its sockets. */
export const HTTPS_FD = 4;
export const HTTP_FD: number = HTTPS_FD + 1;

const ASK_MS = 10_000;
/** A socket that was handed over and that control does not let go of. */
const BEGIN_MS = 3_000;
const CHECK_MS = 50;
/** For the last frames of links, and answers that are nearly out. */
const LAST_MS = 1_000;

/** Bound: see the parts; sockets that wait for `begin` go after 3 s. */
export class TrafficWorker {
  readonly #deps: TrafficWorkerDeps;
  readonly #routes: Routes;
  readonly #links: WorkerLinks;
  readonly #edge: PublicEdge;
  readonly #challenges = new ChallengeBoard();
  readonly #contexts: SecureContexts;
  readonly #handed = new Map<number, { readonly socket: Socket; readonly ticket: SpentTicket }>();
  /** The numbers by which control knows links. */
  readonly #numbers = new Map<Link, number>();
  #lastNumber = 0;
  /** While a channel that control pipes is taken. */
  #piped = false;
  #identity: GatewayIdentity;
  #leaving: 'retired' | 'drained' | undefined;

  constructor(deps: TrafficWorkerDeps, start: WorkerStart) {
    this.#deps = deps;
    const { clock, logger, ipc } = deps;
    const { domain, settings, https, http, publicPort, http2, privateIssuers } = start;
    const { limits, abuse } = settings;
    this.#identity = start.identity;
    this.#routes = new Routes({ now: () => clock.now(), random: Math.random });
    this.#routes.apply(start.routes);
    this.#links = createWorkerLinks({
      clock,
      logger,
      self: start.self,
      ask: async (peer) => void (await ipc.ask({ what: 'link', peer }, ASK_MS)),
      accept: (stream) => this.#edge.accept(stream),
    });
    this.#links.onLink((link) => this.#onLink(link));
    this.#challenges.apply(start.challenges);
    const contexts = new SecureContexts({
      clock,
      source: {
        certificateFor: async (host) =>
          (await ipc.ask({ what: 'certificate', host }, ASK_MS)) as CertificatePair | undefined,
      },
      knows: (host) => host === domain || this.#routes.current.endsTls(host),
      onMissing: (host) => logger.warn({ component: 'gateway.tls', host }, 'no certificate covers a name served here'),
    });
    this.#contexts = contexts;
    this.#edge = new PublicEdge(
      {
        clock,
        logger,
        links: this.#links,
        contexts,
        challenges: this.#challenges,
        secret: start.secret,
        answered: {
          epoch: start.epoch,
          take: async (nonce, untilMs, scope) =>
            (await ipc.ask({ what: 'answered', nonce, untilMs, scope }, ASK_MS)) as Taken,
        },
        newId: newRequestId,
        snapshot: () => this.#routes.current,
        identity: () => this.#identity,
        onServed: (host) => ipc.say({ type: 'served', host }),
      },
      {
        domain,
        limits,
        abuse,
        https: { ...https, fd: HTTPS_FD },
        http: http && { ...http, fd: HTTP_FD },
        publicPort,
        http2,
        privateIssuers,
      },
    );
  }

  /** One message of control. */
  take(message: Exclude<ToWorker, { readonly type: 'start' }>, handle: SendHandle | undefined): void {
    switch (message.type) {
      case 'listen':
        return void this.#listen();
      case 'routes':
        return this.#edge.withdraw(this.#routes.apply(message.change));
      case 'identity':
        this.#identity = message.identity;
        return;
      case 'settings':
        return this.#reconfigure(message.settings);
      case 'challenges':
        return this.#challenges.apply(message.change);
      case 'certificates':
        return this.#contexts.forget(message.names);
      case 'revoke':
        return this.#links.revoke(message.peers);
      case 'socket':
        return this.#hold(message.id, message.ticket, handle);
      case 'begin':
        return this.#begin(message.id);
      case 'channel':
        return this.#takeChannel(message, handle);
      case 'retire':
        return void this.#retire(message.ms);
      case 'drain':
        return void this.#drain(message.ms);
    }
  }

  #reconfigure(settings: EdgeSettings): void {
    this.#edge.reconfigure(settings);
    try {
      this.#deps.access.reopen(settings.accessLog);
    } catch (err) {
      this.#deps.logger.error({ component: 'gateway.worker', err }, 'access log not opened anew');
    }
  }

  /** What control asks. */
  counts(): WorkerCounts {
    const streams = new Map<number, number>();
    for (const link of this.#links.list()) {
      const number = this.#numbers.get(link);
      if (number !== undefined) streams.set(number, link.openStreams);
    }
    return { ...this.#edge.counts, figures: this.#edge.figures, rssBytes: process.memoryUsage.rss(), streams };
  }

  async #listen(): Promise<void> {
    if (this.#leaving !== undefined) return;
    try {
      await this.#edge.start({ signal: AbortSignal.timeout(ASK_MS) });
      this.#deps.ipc.say({ type: 'listening' });
    } catch (err) {
      this.#deps.logger.error({ component: 'gateway.worker', err }, 'worker cannot listen');
      this.#deps.onDone();
    }
  }

  /** Control holds the socket until it hears of this: until then it could still read from it. */
  #hold(id: number, ticket: SpentTicket, handle: SendHandle | undefined): void {
    if (!(handle instanceof Socket)) return;
    handle.on('error', ignore);
    this.#handed.set(id, { socket: handle, ticket });
    const timer = this.#deps.clock.after(BEGIN_MS, () => {
      if (this.#handed.delete(id)) handle.destroy();
    });
    handle.once('close', () => timer.cancel());
    this.#deps.ipc.say({ type: 'taken', id });
  }

  #begin(id: number): void {
    const handed = this.#handed.get(id);
    if (!handed) return;
    this.#handed.delete(id);
    this.#links.acceptSocket(handed.socket, handed.ticket);
  }

  #takeChannel({ peer, relayed }: ToWorker & { readonly type: 'channel' }, handle: SendHandle | undefined): void {
    if (!(handle instanceof Socket)) return;
    // A link over a channel stands in the turn in which it is taken.
    this.#piped = true;
    this.#links.acceptChannel(new SocketChannel(handle), peer, relayed);
    this.#piped = false;
  }

  #onLink(link: Link): void {
    this.#lastNumber += 1;
    const number = this.#lastNumber;
    this.#numbers.set(link, number);
    const { ipc } = this.#deps;
    ipc.say({ type: 'linked', number, peer: link.peer, path: link.path, piped: this.#piped });
    link.closed.addEventListener(
      'abort',
      () => {
        this.#numbers.delete(link);
        ipc.say({ type: 'unlinked', number });
      },
      { once: true },
    );
  }

  /** Clients are served until their connections end; then whoever is left is drained. */
  async #retire(ms: number): Promise<void> {
    if (this.#leaving !== undefined) return;
    this.#leaving = 'retired';
    const { clock } = this.#deps;
    const until = clock.now() + ms;
    this.#edge.retire();
    while (this.#leaving === 'retired' && this.#edge.counts.connections > 0 && clock.now() < until) await this.#pause();
    if (this.#leaving === 'retired') await this.#leave(LAST_MS);
  }

  /** The whole gateway goes: who retires does so with it, and a second word can only shorten the time. */
  async #drain(ms: number): Promise<void> {
    const again = this.#leaving === 'drained';
    this.#leaving = 'drained';
    if (again) return this.#edge.drain(ms);
    // Whoever was let in has found its member by then.
    const telling = this.#deps.clock.after(farewellMs(ms), () => this.#links.close());
    await this.#leave(ms);
    telling.cancel();
  }

  async #leave(ms: number): Promise<void> {
    await this.#edge.drain(ms);
    this.#links.close();
    await this.#edge.stop();
    await this.#links.stop();
    this.#deps.onDone();
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => this.#deps.clock.after(CHECK_MS, resolve));
  }
}

const ignore = (): void => undefined;
