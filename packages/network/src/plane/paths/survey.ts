/** How the world sees a tunnel's UDP socket: asked of anchors, kept for a moment, shared by all who need it. */
import { randomBytes } from 'node:crypto';

import {
  MoatError,
  errorCode,
  sleep,
  type Clock,
  type ControlPlane,
  type Endpoint,
  type Observation,
  type PeerId,
  type PortMapper,
  type Tunnels,
} from '@moat/core';

import type { OwnAddresses } from './candidates.ts';
import { createDeadline, orAborted } from '../deadline.ts';
import { natKindOf, type NatKind } from './nat-kind.ts';
import type { ConnectAnchor, Observe } from './path-ports.ts';

/** Milliseconds that what anchors saw is believed: peers that wake together share one survey. */
const FRESH_MS = 4_000;
/** Milliseconds for one anchor. */
const ANCHOR_MS = 2_200;
/** Milliseconds until a probe is sent again: one lost packet is no kind of NAT. */
const PROBE_MS = 500;
/** Two answers tell what kind of NAT there is. */
const ENOUGH = 2;
const MOST_ANCHORS = 8;

/** What one anchor says of us. */
export interface AnchorReport {
  readonly anchor: PeerId;
  /** Null when none of our packets arrived there. */
  readonly seen: Endpoint | null;
  /** Milliseconds of the question; null when the anchor was not reached. */
  readonly rttMs: number | null;
  /** Why `seen` is null. */
  readonly code: string | null;
}

/** Where we are. */
export interface Survey {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly nat: NatKind;
  readonly own: OwnAddresses;
  readonly anchors: readonly AnchorReport[];
}

export interface SurveyorDeps {
  readonly control: Pick<ControlPlane, 'connect' | 'connections'>;
  readonly tunnels: Pick<Tunnels, 'probe' | 'endProbe'>;
  readonly clock: Clock;
  /** Of the contract, best first. */
  readonly anchors: () => readonly PeerId[];
  readonly observe: Observe;
  /** Reaches an anchor, which need not be a member. @defaultValue as `control` reaches members */
  readonly connectAnchor?: ConnectAnchor | undefined;
  readonly portMapper?: Pick<PortMapper, 'mapping'> | undefined;
  /** Of interfaces that are neither loopback nor inside a private network. */
  readonly localAddresses: () => readonly string[];
}

export interface SurveyorOptions {
  readonly tunnel: string;
  /** UDP port of the tunnel. */
  readonly port: number;
  /** Ends what is asked: whoever waits for an answer shares it with others. */
  readonly signal: AbortSignal;
}

export class Surveyor {
  readonly #deps: SurveyorDeps;
  readonly #options: SurveyorOptions;
  #known: Survey | undefined;
  #running: Promise<Survey> | undefined;
  /** Counts what made earlier answers worthless. */
  #epoch = 0;

  constructor(deps: SurveyorDeps, options: SurveyorOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** The last survey, however old. */
  get known(): Survey | undefined {
    return this.#known;
  }

  /** What was seen lately, or is seen now; anchors that do not answer cost time and nothing else. @throws the signal's reason */
  survey(signal: AbortSignal): Promise<Survey> {
    const { clock } = this.#deps;
    const known = this.#known;
    const isWord = known !== undefined && (known.own.seen.length > 0 || known.nat === 'blocked');
    if (isWord && clock.now() - known.at < FRESH_MS) return Promise.resolve(known);
    if (this.#running === undefined) {
      const running = this.#take(ENOUGH, this.#options.signal).finally(() => {
        if (this.#running === running) this.#running = undefined;
      });
      running.catch(() => undefined);
      this.#running = running;
    }
    return orAborted(this.#running, signal);
  }

  /** Asks every anchor anew. @throws the signal's reason */
  surveyAll(signal: AbortSignal): Promise<Survey> {
    return this.#take(MOST_ANCHORS, signal);
  }

  /** A way was lost: the router in front may have another address, though we have none. */
  doubt(): void {
    this.#known = undefined;
  }

  /** What was known is no longer true. */
  forget(): void {
    this.#epoch += 1;
    this.#known = undefined;
    this.#running = undefined;
  }

  async #take(enough: number, signal: AbortSignal): Promise<Survey> {
    const { anchors, clock, localAddresses, portMapper } = this.#deps;
    const { port } = this.#options;
    const epoch = this.#epoch;
    const waiting = [...anchors()].slice(0, MOST_ANCHORS);
    const reports: AnchorReport[] = [];
    const ask = async (): Promise<void> => {
      while (reports.filter(({ seen }) => seen !== null).length < enough) {
        const anchor = waiting.shift();
        if (anchor === undefined) return;
        reports.push(await this.#ask(anchor, signal));
      }
    };
    await Promise.all(Array.from({ length: Math.min(enough, waiting.length) }, ask));
    signal.throwIfAborted();
    const local = localAddresses();
    const seen = reports.flatMap((report) => (report.seen === null ? [] : [report.seen]));
    const silent = reports.filter((report) => report.seen === null && report.rttMs !== null).length;
    const survey: Survey = {
      at: clock.now(),
      nat: natKindOf({ seen, silent, own: local }),
      own: { local, port, seen, mapped: portMapper?.mapping(port)?.external ?? null },
      anchors: reports,
    };
    if (epoch === this.#epoch) this.#known = survey;
    return survey;
  }

  async #ask(anchor: PeerId, parent: AbortSignal): Promise<AnchorReport> {
    const { clock, connectAnchor, control, observe, tunnels } = this.#deps;
    const { tunnel } = this.#options;
    using deadline = createDeadline(clock, ANCHOR_MS, parent);
    const { signal } = deadline;
    const key = randomBytes(32).toString('base64');
    let rttMs: number | null = null;
    try {
      const direct = control.connections(anchor).find(({ remote }) => remote !== null);
      const connect = connectAnchor ?? control.connect.bind(control);
      const connection = direct ?? (await connect(anchor, signal));
      const asked = clock.now();
      const observation = await observe(connection, key, signal);
      rttMs = clock.now() - asked;
      try {
        return { anchor, seen: await this.#probe(key, observation, signal), rttMs, code: null };
      } finally {
        await tunnels.endProbe(tunnel, key);
      }
    } catch (error) {
      return { anchor, seen: null, rttMs, code: errorCode(error) };
    }
  }

  async #probe(key: string, { listening, observed }: Observation, parent: AbortSignal): Promise<Endpoint> {
    const { clock, tunnels } = this.#deps;
    const over = new AbortController();
    const signal = AbortSignal.any([over.signal, parent]);
    const send = async (): Promise<never> => {
      for (;;) {
        await tunnels.probe(this.#options.tunnel, key, listening);
        await sleep(clock, PROBE_MS, signal);
      }
    };
    const sending = send();
    try {
      return await Promise.race([orAborted(observed, parent), sending]);
    } finally {
      over.abort(new MoatError('STREAM_ENDED', 'no more probes'));
      await sending.catch(() => undefined);
    }
  }
}
