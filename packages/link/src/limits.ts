import { DEFAULT_HEARTBEAT, type HeartbeatOptions } from './heartbeat.ts';
import type { Rate } from './rate.ts';

/** The bounds of one link. */
export interface SessionLimits {
  /** Streams the peer may have open; more are reset with `STREAM_LIMIT`. */
  readonly streams: number;
  /** Streams the peer may open a second; more are reset with `OPEN_RATE`. */
  readonly opens: Rate;
  /** Streams the peer may open and reset itself a second; beyond it the link ends with `OPEN_RATE`. */
  readonly resets: Rate;
  /** Bytes of data on their way in each direction; both sides must agree. */
  readonly linkWindowBytes: number;
  /** Bytes that paused readers of the link hold together; beyond it the one that stood longest gets `STREAM_STALLED`. */
  readonly heldBytes: number;
  /** Bytes of answers that may pile up for a peer that does not read; beyond it the link ends with `LINK_BACKLOG`. */
  readonly backlogBytes: number;
  /** Milliseconds after which a link is replaced. */
  readonly renewMs: number;
  /** Bytes, both directions together, after which a link is replaced. */
  readonly renewBytes: number;
  readonly heartbeat: HeartbeatOptions;
}

const MIB = 1024 * 1024;

/** Of a link over a socket of its own. */
export const DEFAULT_LIMITS: SessionLimits = {
  streams: 4096,
  opens: { perSecond: 50_000, burst: 50_000 },
  resets: { perSecond: 5000, burst: 10_000 },
  linkWindowBytes: 16 * MIB,
  heldBytes: 64 * MIB,
  backlogBytes: 8 * MIB,
  renewMs: 24 * 3600 * 1000,
  renewBytes: 128 * 1024 * MIB,
  heartbeat: DEFAULT_HEARTBEAT,
};

/** Bytes on their way over one overlay stream: it shares its connection with the control plane. */
export const OVERLAY_WINDOW_BYTES: number = MIB;
/** Milliseconds after which a link over the overlay, though the peer has an address, tries its socket again. */
export const DIRECT_RETRY_MS = 300_000;
