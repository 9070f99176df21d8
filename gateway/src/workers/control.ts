/**
 * The control process's side of the workers: starts them, tells them everything, replaces the one that dies, and rolls
 * them over one by one. What is public stays open meanwhile: the sockets are ours, and a worker only accepts from them.
 */
import { join } from 'node:path';
import { errorCode, type Clock, type Logger, type PeerId, type Service, type Timer } from '@moat/core';
import type { LinkDispatcher, LinkWorkers, SpentTicket } from '@moat/link';
import type { ByteChannel } from '@moat/core';
import type { Socket } from 'node:net';
import type { ChallengeChange } from '../certificates/challenge-board.ts';
import type { EdgeSettings, HostPort } from '../config.ts';
import { refusal } from '../errors.ts';
import { addFigures, NO_FIGURES, pastFigures, type EdgeFigures } from '../metrics/figures.ts';
import type { GatewayIdentity } from '../request/self.ts';
import type { RouteChange } from '../routes/snapshot.ts';
import { LocalPipes } from './handover.ts';
import type { ToWorker, WorkerNews, WorkerQuestion, WorkerStart } from './protocol.ts';
import { PublicPort } from './public-ports.ts';
import { shareLimits } from './shares.ts';
import { WorkerProcess } from './worker-process.ts';

/** Milliseconds between two looks at every worker. */
const LOOK_MS = 2_000;
/** A worker that lived shorter is replaced later and later. */
const YOUNG_MS = 5_000;
const RESPAWN_MAX_MS = 5_000;
/** Milliseconds that a new worker's members have for their links before it accepts clients. */
const LINKS_MS = 1_500;
/** Milliseconds that a worker which was replaced may go on serving its clients. */
const RETIRE_MS = 60_000;
/** Milliseconds for a look that somebody waits for; who answers later has older figures. */
const GLANCE_MS = 1_000;
/** Beyond what a worker was given to leave. */
const GRACE_MS = 2_000;

export interface FleetDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** What a worker asks. */
  answer(question: WorkerQuestion): Promise<unknown>;
  /** Proofs that are shown now, for a worker that begins. */
  challenges(): ChallengeChange;
  readonly links: Pick<LinkDispatcher, 'workerReady' | 'workerGone' | 'linked' | 'unlinked' | 'counted' | 'peersOf'>;
  identity(): GatewayIdentity;
  /** All routes, for a worker that begins. */
  routes(): RouteChange;
  onServed(host: string): void;
  /** A worker ended that was not told to. */
  onDied(reason: string): void;
}

export interface FleetOptions {
  readonly count: number;
  readonly level: string;
  readonly self: PeerId;
  readonly domain: string;
  readonly secret: Uint8Array;
  readonly epoch: Uint8Array;
  readonly settings: EdgeSettings;
  readonly https: HostPort;
  readonly http: HostPort | undefined;
  readonly publicPort: number | undefined;
  readonly http2: boolean;
  readonly privateIssuers: boolean;
  /** 0700. */
  readonly stateDirectory: string;
}

/** One of the places for a worker: its sockets stay, who accepts from them changes. */
interface Place {
  readonly index: number;
  current: WorkerProcess | undefined;
  restarts: number;
  delayMs: number;
  timer: Timer | undefined;
}

/** What is known of one worker. */
export interface WorkerReport {
  readonly worker: WorkerProcess;
  /** How often its place was filled anew. */
  readonly restarts: number;
}

/** Bound: `count` workers, and while they are rolled over as many again that leave. */
export class WorkerFleet implements Service, LinkWorkers {
  readonly #deps: FleetDeps;
  readonly #options: FleetOptions;
  readonly #places: readonly Place[];
  /** All that run, also those that leave. */
  readonly #running = new Map<number, WorkerProcess>();
  readonly #pipes: LocalPipes;
  #https: PublicPort | undefined;
  #http: PublicPort | undefined;
  #lastNumber = 0;
  /** Requests of workers that are gone. */
  #pastTotal = 0;
  #pastFigures = NO_FIGURES;
  #told = '';
  #settings: EdgeSettings;
  #look: Timer | undefined;
  #rolling = false;
  #stopping = false;

  constructor(deps: FleetDeps, options: FleetOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#settings = options.settings;
    this.#pipes = new LocalPipes(join(options.stateDirectory, 'pipe'));
    this.#places = Array.from({ length: options.count }, (_, index) => ({
      index,
      current: undefined,
      restarts: -1,
      delayMs: 0,
      timer: undefined,
    }));
  }

  get httpsPort(): number {
    return this.#https?.port ?? this.#options.https.port;
  }

  get httpPort(): number | undefined {
    return this.#http?.port;
  }

  /** Client connections, requests in work, requests since the start; as the workers said last. */
  get counts(): { readonly connections: number; readonly running: number; readonly total: number } {
    const all = [...this.#running.values()].map(({ counts }) => counts);
    return {
      connections: all.reduce((sum, { connections }) => sum + connections, 0),
      running: all.reduce((sum, { running }) => sum + running, 0),
      total: all.reduce((sum, { total }) => sum + total, this.#pastTotal),
    };
  }

  /** What all workers counted, those that are gone too; as they said last. */
  get figures(): EdgeFigures {
    return addFigures([this.#pastFigures, ...[...this.#running.values()].map(({ counts }) => counts.figures)]);
  }

  /** How often a place was filled anew. */
  get restarts(): number {
    return this.#places.reduce((sum, { restarts }) => sum + Math.max(0, restarts), 0);
  }

  /** Those that leave come last. */
  list(): WorkerReport[] {
    const order = (worker: WorkerProcess): number => (worker.state === 'leaving' ? 1 : 0);
    return [...this.#running.values()]
      .map((worker) => ({ worker, restarts: Math.max(0, this.#places[worker.place]?.restarts ?? 0) }))
      .toSorted((a, b) => order(a.worker) - order(b.worker) || a.worker.place - b.worker.place);
  }

  /** Resolves when every worker accepts clients. @throws `LISTEN_FAILED`, `WORKER_GONE` */
  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    const { https, http, count } = this.#options;
    await using opening = new AsyncDisposableStack();
    opening.defer(() => this.stop());
    this.#https = await PublicPort.bind(https, count);
    this.#http = http && (await PublicPort.bind(http, count));
    await Promise.all(
      this.#places.map(async (place) => {
        const worker = this.#spawn(place);
        place.current = worker;
        await worker.ready();
        this.#deps.links.workerReady(worker.number);
        await worker.listen();
      }),
    );
    this.#lookLater();
    opening.move();
  }

  /** Tells every worker, in the order of the calls. */
  apply(change: RouteChange): void {
    this.#tell({ type: 'routes', change });
  }

  /** Tells every worker what gateway.yaml says now. */
  reconfigure(settings: EdgeSettings): void {
    this.#settings = settings;
    this.#tell({ type: 'settings', settings: this.#share() });
  }

  /** Tells what the gateway says of itself, where that changed. */
  tellIdentity(): void {
    const identity = this.#deps.identity();
    const text = JSON.stringify(identity);
    if (text === this.#told) return;
    this.#told = text;
    this.#tell({ type: 'identity', identity });
  }

  /** Tells every worker what is shown to certificate authorities. */
  tellChallenges(change: ChallengeChange): void {
    this.#tell({ type: 'challenges', change });
  }

  /** Tells every worker for which names it is to ask anew. */
  tellCertificates(names: readonly string[]): void {
    this.#tell({ type: 'certificates', names });
  }

  /** Resolves when every worker has done what it was told until now; one that does not answer is killed. */
  async settled(): Promise<void> {
    await Promise.all([...this.#running.values()].map((worker) => this.#ask(worker)));
  }

  /** Gets the figures of now, where they come soon. */
  async refresh(): Promise<void> {
    await Promise.race([this.settled(), new Promise<void>((resolve) => this.#deps.clock.after(GLANCE_MS, resolve))]);
  }

  /** Puts another worker in each place, one after the other. @throws `RESTART_RUNNING`, `WORKER_GONE` */
  async restart(): Promise<void> {
    const isLeaving = [...this.#running.values()].some(({ state }) => state === 'leaving');
    if (this.#rolling || isLeaving || this.#stopping) {
      throw refusal('RESTART_RUNNING', 'workers that were replaced still serve their clients', { retryable: true });
    }
    this.#rolling = true;
    try {
      for (const place of this.#places) await this.#roll(place);
    } finally {
      this.#rolling = false;
    }
  }

  passSocket(worker: number, socket: Socket, ticket: SpentTicket): void {
    const running = this.#running.get(worker);
    if (running?.passSocket(socket, ticket) !== true) socket.resetAndDestroy();
  }

  passChannel(worker: number, channel: ByteChannel, peer: PeerId, relayed: boolean): void {
    this.#pipes.pipe(channel, (far) => {
      const running = this.#running.get(worker);
      if (running?.passChannel(far, peer, relayed) !== true) far.destroy();
    });
  }

  revoke(peers: readonly PeerId[]): void {
    this.#tell({ type: 'revoke', peers });
  }

  /** Takes nothing new; resolves when nothing runs, at the latest after `ms`. */
  async drain(ms: number): Promise<void> {
    this.#halt();
    const ended = [...this.#running.values()].map((worker) => this.#end(worker, { type: 'drain', ms }));
    // Whoever knocks now is refused: in our sockets nobody would come for them.
    this.#https?.[Symbol.dispose]();
    this.#http?.[Symbol.dispose]();
    await Promise.all(ended);
  }

  async stop(): Promise<void> {
    this.#halt();
    for (const worker of this.#running.values()) worker.kill();
    await Promise.all([...this.#running.values()].map(({ gone }) => gone));
    this.#pipes.stop();
    this.#https?.[Symbol.dispose]();
    this.#http?.[Symbol.dispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #halt(): void {
    this.#stopping = true;
    this.#look?.cancel();
    for (const { timer } of this.#places) timer?.cancel();
  }

  #tell(message: ToWorker): void {
    for (const worker of this.#running.values()) worker.say(message);
  }

  #spawn(place: Place): WorkerProcess {
    this.#lastNumber += 1;
    const fds = [this.#https, this.#http].flatMap((port) => (port === undefined ? [] : [port.fd(place.index)]));
    const worker = new WorkerProcess(
      {
        onNews: (from, news) => this.#receive(from, news),
        onQuestion: (_from, question) => this.#deps.answer(question),
        onExit: (from, how) => this.#onExit(place, from, how),
      },
      { number: this.#lastNumber, place: place.index, start: this.#startOf(), fds },
      this.#deps.clock.now(),
    );
    place.restarts += 1;
    this.#running.set(worker.number, worker);
    return worker;
  }

  #startOf(): WorkerStart {
    const { level, self, domain, secret, epoch, https, http, publicPort, http2, privateIssuers } = this.#options;
    return {
      level,
      self,
      domain,
      secret,
      epoch,
      settings: this.#share(),
      https: { ...https, port: this.httpsPort },
      http: http && { ...http, port: this.httpPort ?? http.port },
      publicPort,
      http2,
      privateIssuers,
      identity: this.#deps.identity(),
      challenges: this.#deps.challenges(),
      routes: this.#deps.routes(),
    };
  }

  #share(): EdgeSettings {
    return { ...this.#settings, limits: shareLimits(this.#settings.limits, this.#options.count) };
  }

  #receive({ number }: WorkerProcess, news: WorkerNews): void {
    const { links } = this.#deps;
    switch (news.type) {
      case 'linked':
        return links.linked(number, news);
      case 'unlinked':
        return links.unlinked(number, news.number);
      case 'served':
        return this.#deps.onServed(news.host);
    }
  }

  #onExit(place: Place, worker: WorkerProcess, how: { code: number | null; signal: string | null }): void {
    const { clock, logger, links } = this.#deps;
    this.#running.delete(worker.number);
    this.#pastTotal += worker.counts.total;
    this.#pastFigures = addFigures([this.#pastFigures, pastFigures(worker.counts.figures)]);
    const peers = links.peersOf(worker.number);
    links.workerGone(worker.number);
    if (place.current !== worker) return;
    place.current = undefined;
    if (this.#stopping) return;
    const isYoung = clock.now() - worker.startedMs < YOUNG_MS;
    place.delayMs = isYoung ? Math.min(RESPAWN_MAX_MS, place.delayMs * 2 + 100) : 0;
    logger.error(
      { component: 'gateway.workers', worker: worker.number, reason: how.signal ?? `exit ${how.code}` },
      'worker died; another takes its place',
    );
    this.#deps.onDied(how.signal ?? `exit ${how.code}`);
    if (place.delayMs === 0) return void this.#replace(place, peers);
    place.timer = clock.after(place.delayMs, () => void this.#replace(place, peers));
  }

  /** Who waits in the sockets of the dead one waits for this one. */
  async #replace(place: Place, peers: ReadonlySet<PeerId>): Promise<void> {
    if (this.#stopping) return;
    const { clock, logger } = this.#deps;
    let worker: WorkerProcess;
    try {
      worker = this.#spawn(place);
    } catch (err) {
      // No memory, or Node itself is being replaced: the other workers serve meanwhile.
      logger.error({ component: 'gateway.workers', err }, 'worker cannot be started');
      place.delayMs = RESPAWN_MAX_MS;
      place.timer = clock.after(place.delayMs, () => void this.#replace(place, peers));
      return;
    }
    place.current = worker;
    try {
      await this.#begin(worker, peers);
    } catch (err) {
      // Its exit brings the next one.
      logger.error({ component: 'gateway.workers', worker: worker.number, err }, 'worker not ready');
      worker.kill();
    }
  }

  /** Links first, clients then: nobody shall get 503 because a worker is new. */
  async #begin(worker: WorkerProcess, peers: ReadonlySet<PeerId>): Promise<void> {
    const { clock, links } = this.#deps;
    await worker.ready();
    links.workerReady(worker.number);
    const until = clock.now() + LINKS_MS;
    for (;;) {
      const linked = links.peersOf(worker.number);
      if ([...peers].every((peer) => linked.has(peer)) || clock.now() >= until) break;
      await new Promise<void>((resolve) => clock.after(10, resolve));
    }
    await worker.listen();
  }

  async #roll(place: Place): Promise<void> {
    if (this.#stopping) throw refusal('GATEWAY_STOPPING', 'this gateway is going down', { retryable: true });
    const { links } = this.#deps;
    const worker = this.#spawn(place);
    try {
      await this.#begin(worker, place.current === undefined ? new Set() : links.peersOf(place.current.number));
    } catch (error) {
      worker.kill();
      throw error;
    }
    // Whoever is there now: the one that was may have died meanwhile, and been replaced.
    const old = place.current;
    place.timer?.cancel();
    place.current = worker;
    place.delayMs = 0;
    if (old === undefined) return;
    links.workerGone(old.number);
    void this.#end(old, { type: 'retire', ms: RETIRE_MS });
  }

  /** Has it leave; kills it where it does not. */
  async #end(worker: WorkerProcess, message: ToWorker & { readonly ms: number }): Promise<void> {
    worker.state = 'leaving';
    worker.say(message);
    const timer = this.#deps.clock.after(message.ms + GRACE_MS, () => worker.kill());
    await worker.gone;
    timer.cancel();
  }

  #lookLater(): void {
    this.#look = this.#deps.clock.after(LOOK_MS, () => {
      this.tellIdentity();
      for (const worker of this.#running.values()) void this.#ask(worker);
      this.#lookLater();
    });
  }

  /** A worker whose loop stands still serves nobody, and hears of no withdrawal: it is replaced. */
  async #ask(worker: WorkerProcess): Promise<void> {
    if (worker.state === 'starting' || worker.state === 'gone') return;
    try {
      await worker.refresh();
      this.#deps.links.counted(worker.number, worker.counts.streams);
    } catch (error) {
      if (!this.#running.has(worker.number) || this.#stopping) return;
      this.#deps.logger.error(
        { component: 'gateway.workers', worker: worker.number, code: errorCode(error) },
        'worker does not answer',
      );
      worker.kill();
    }
  }
}
