/**
 * What the traffic's side counts: plain numbers, since a request passes here (0.05 µs). They are given to prom-client when
 * somebody asks. Never by name or client: a label whose values others choose has no bound; the access log has both.
 */

/** Upper bounds of the buckets, in seconds. */
export const DURATION_BOUNDS_S: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const BOUNDS_MS: readonly number[] = DURATION_BOUNDS_S.map((seconds) => seconds * 1_000);

export const PROTOCOLS = ['1.0', '1.1', '2'] as const;
/** By the first digit of the status; 499 and what was never answered are 4xx. */
export const CODE_CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx'] as const;

/** Codes remembered one by one; more are `OTHER`. A member's word may be among them. */
const MAX_CODES = 200;

/** All figures of one process, or of several together, as plain data that another process can be sent. */
export interface EdgeFigures {
  /** By protocol, then class. */
  readonly requests: readonly number[];
  /** Requests in each bucket alone; the last is everything above. */
  readonly durations: readonly number[];
  readonly durationSumMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Requests that something else than a service's answer decided, by code. */
  readonly codes: ReadonlyMap<string, number>;
  readonly connections: number;
  readonly connectionsRefused: number;
  readonly handshakes: number;
  readonly handshakesFailed: number;
  /** Connections whose bytes nobody here reads: passed through by name, or of a port. */
  readonly tunnels: TunnelFigures;
  /** Requests that became a WebSocket or the like, now; of processes that are gone none. */
  readonly webSockets: number;
}

export interface TunnelFigures {
  /** Now; of processes that are gone none. */
  readonly running: number;
  readonly total: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

const NO_TUNNELS: TunnelFigures = { running: 0, total: 0, bytesIn: 0, bytesOut: 0 };

export class EdgeCounters {
  readonly #requests = new Float64Array(PROTOCOLS.length * CODE_CLASSES.length);
  readonly #durations = new Float64Array(BOUNDS_MS.length + 1);
  readonly #codes = new Map<string, number>();
  #durationSumMs = 0;
  #bytesIn = 0;
  #bytesOut = 0;
  connections = 0;
  connectionsRefused = 0;
  handshakes = 0;
  handshakesFailed = 0;

  /** One request that is over. */
  count(version: string, status: number, durationMs: number, bytesIn: number, bytesOut: number): void {
    const protocol = version === '1.1' ? 1 : version === '2' ? 2 : 0;
    const at = protocol * CODE_CLASSES.length + Math.max(0, Math.min(4, Math.trunc(status / 100) - 1));
    this.#requests[at] = (this.#requests[at] ?? 0) + 1;
    let bucket = 0;
    while (bucket < BOUNDS_MS.length && durationMs > (BOUNDS_MS[bucket] ?? 0)) bucket += 1;
    this.#durations[bucket] = (this.#durations[bucket] ?? 0) + 1;
    this.#durationSumMs += durationMs;
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
  }

  /** What decided about a request, where it was not a service's answer. */
  countCode(code: string): void {
    // Behind the stroke stands what a member said.
    const slash = code.indexOf('/');
    const own = slash === -1 ? code : code.slice(0, slash);
    const known = this.#codes.get(own);
    const counted = known === undefined && this.#codes.size >= MAX_CODES ? 'OTHER' : own;
    this.#codes.set(counted, (this.#codes.get(counted) ?? 0) + 1);
  }

  /** A copy as of now. */
  figures(tunnels: TunnelFigures = NO_TUNNELS, webSockets: number = 0): EdgeFigures {
    return {
      requests: [...this.#requests],
      durations: [...this.#durations],
      durationSumMs: this.#durationSumMs,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      codes: new Map(this.#codes),
      connections: this.connections,
      connectionsRefused: this.connectionsRefused,
      handshakes: this.handshakes,
      handshakesFailed: this.handshakesFailed,
      tunnels: { ...tunnels },
      webSockets,
    };
  }
}

export const NO_FIGURES: EdgeFigures = new EdgeCounters().figures();

/** What stays of a process that is gone. */
export function pastFigures(figures: EdgeFigures): EdgeFigures {
  return { ...figures, tunnels: { ...figures.tunnels, running: 0 }, webSockets: 0 };
}

/** Figures of several processes as one. */
export function addFigures(all: readonly EdgeFigures[]): EdgeFigures {
  const sum = (of: (figures: EdgeFigures) => number): number => all.reduce((total, figures) => total + of(figures), 0);
  const codes = new Map<string, number>();
  for (const figures of all) for (const [code, count] of figures.codes) codes.set(code, (codes.get(code) ?? 0) + count);
  return {
    requests: NO_FIGURES.requests.map((_, at) => sum(({ requests }) => requests[at] ?? 0)),
    durations: NO_FIGURES.durations.map((_, at) => sum(({ durations }) => durations[at] ?? 0)),
    durationSumMs: sum(({ durationSumMs }) => durationSumMs),
    bytesIn: sum(({ bytesIn }) => bytesIn),
    bytesOut: sum(({ bytesOut }) => bytesOut),
    codes,
    connections: sum(({ connections }) => connections),
    connectionsRefused: sum(({ connectionsRefused }) => connectionsRefused),
    handshakes: sum(({ handshakes }) => handshakes),
    handshakesFailed: sum(({ handshakesFailed }) => handshakesFailed),
    tunnels: {
      running: sum(({ tunnels }) => tunnels.running),
      total: sum(({ tunnels }) => tunnels.total),
      bytesIn: sum(({ tunnels }) => tunnels.bytesIn),
      bytesOut: sum(({ tunnels }) => tunnels.bytesOut),
    },
    webSockets: sum(({ webSockets }) => webSockets),
  };
}
