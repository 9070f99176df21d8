/**
 * What the control process and a traffic worker say to each other, over the channel that a child process has. Both run
 * the same code as the same user, so nothing is validated here; what members and clients send never travels this way.
 */
import type { PeerId } from '@moat/core';
import type { SpentTicket, ToldLink } from '@moat/link';
import type { EdgeSettings, HostPort } from '../config.ts';
import type { EdgeFigures } from '../metrics/figures.ts';
import type { ChallengeChange } from '../certificates/challenge-board.ts';
import type { GatewayIdentity } from '../request/self.ts';
import type { RouteChange } from '../routes/snapshot.ts';

/** Everything a worker begins with. */
export interface WorkerStart {
  readonly level: string;
  /** The gateway's PeerId. */
  readonly self: PeerId;
  readonly domain: string;
  /** What marks of clients are made with. */
  readonly secret: Uint8Array;
  /** Of the questions of sign-ins: see `Answered`. */
  readonly epoch: Uint8Array;
  /** With this worker's share, where a bound is one of the whole gateway. */
  readonly settings: EdgeSettings;
  readonly https: HostPort;
  readonly http: HostPort | undefined;
  readonly publicPort: number | undefined;
  readonly http2: boolean;
  readonly privateIssuers: boolean;
  readonly identity: GatewayIdentity;
  /** Proofs that are shown now. */
  readonly challenges: ChallengeChange;
  readonly routes: RouteChange;
}

/** From control to a worker. Sockets travel beside the message. */
export type ToWorker =
  | { readonly type: 'start'; readonly start: WorkerStart }
  /** Accept from the public ports. */
  | { readonly type: 'listen' }
  | { readonly type: 'routes'; readonly change: RouteChange }
  | { readonly type: 'identity'; readonly identity: GatewayIdentity }
  /** Proofs that certificate authorities ask for. */
  | { readonly type: 'challenges'; readonly change: ChallengeChange }
  /** There are other certificates for these names. */
  | { readonly type: 'certificates'; readonly names: readonly string[] }
  | { readonly type: 'settings'; readonly settings: EdgeSettings }
  | { readonly type: 'revoke'; readonly peers: readonly PeerId[] }
  /** With a socket of the link port. It is not touched before `begin`: control still holds it. */
  | { readonly type: 'socket'; readonly id: number; readonly ticket: SpentTicket }
  | { readonly type: 'begin'; readonly id: number }
  /** With one end of a local socket that control pipes into the overlay. */
  | { readonly type: 'channel'; readonly peer: PeerId; readonly relayed: boolean }
  /** Another worker took over: serve what is there to its end, at most so long, then leave. */
  | { readonly type: 'retire'; readonly ms: number }
  /** The gateway goes down: refuse what is new, let what runs end, at most so long, then leave. */
  | { readonly type: 'drain'; readonly ms: number };

/** How a worker comes along. */
export type WorkerLife =
  /** It takes links and has its routes. */
  | { readonly type: 'ready' }
  | { readonly type: 'listening' }
  /** Of a socket: control may let it go. */
  | { readonly type: 'taken'; readonly id: number };

/** What a worker's traffic has to say. */
export type WorkerNews =
  | ({ readonly type: 'linked' } & ToldLink)
  | { readonly type: 'unlinked'; readonly number: number }
  /** A service answered under this host. */
  | { readonly type: 'served'; readonly host: string };

/** From a worker to control. */
export type FromWorker = WorkerLife | WorkerNews;

/** What control asks a worker. An answer also says that everything sent before was done. */
export interface ControlQuestion {
  readonly what: 'counts';
}

/** What a worker asks control. */
export type WorkerQuestion =
  | { readonly what: 'certificate'; readonly host: string }
  /** Whether a question of a sign-in is answered for the first time: see `Answered`. */
  | { readonly what: 'answered'; readonly nonce: string; readonly untilMs: number; readonly scope: string }
  /** Send the peer tickets for the workers that have no link to it. */
  | { readonly what: 'link'; readonly peer: PeerId };

/** A worker's own figures. */
export interface WorkerCounts {
  readonly connections: number;
  readonly running: number;
  /** Requests since it started. */
  readonly total: number;
  readonly rssBytes: number;
  /** What it counted since it started. */
  readonly figures: EdgeFigures;
  /** Streams by link. */
  readonly streams: ReadonlyMap<number, number>;
}
