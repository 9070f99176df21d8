/** A link without a socket of its own: the same frames over one stream of the control connection, paced by a small link window. */
import type { ByteChannel, ControlPlane, PeerConnection } from '@moat/core';

import { DIRECT_RETRY_MS, OVERLAY_WINDOW_BYTES, type SessionLimits } from './limits.ts';
import { LINK_STREAM_PROTOCOL } from './messages.ts';
import type { Transport } from './roster.ts';

/** What differs from a link over a socket; the same on both sides. */
const OVERLAY_LIMITS: Readonly<Partial<Record<Transport, Partial<SessionLimits>>>> = {
  overlay: { linkWindowBytes: OVERLAY_WINDOW_BYTES, renewMs: DIRECT_RETRY_MS },
  'overlay-relayed': { linkWindowBytes: OVERLAY_WINDOW_BYTES },
};

/** The bounds of a link that differ from the default because of what it rides on. */
export function limitsOf(transport: Transport): Partial<SessionLimits> {
  return OVERLAY_LIMITS[transport] ?? {};
}

/** The dialer's side. @throws what the control plane throws */
export function dialOverlay(
  control: ControlPlane,
  connection: PeerConnection,
  signal: AbortSignal,
): Promise<ByteChannel> {
  return control.openBytes(connection, LINK_STREAM_PROTOCOL, signal);
}

/** The acceptor's side; `accept` decides about each channel in the turn in which it gets it. */
export function serveOverlay(
  control: ControlPlane,
  accept: (channel: ByteChannel, connection: PeerConnection) => void,
): void {
  control.handleBytes(LINK_STREAM_PROTOCOL, accept, { audience: 'admitted' });
}
