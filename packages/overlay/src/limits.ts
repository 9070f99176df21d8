import type { OverlayLimits } from './overlay.ts';

export const DEFAULT_LIMITS: OverlayLimits = {
  connections: 1200,
  pendingConnections: 512,
  connectionsPerSecond: 32,
  handshakeMs: 3000,
  probationMs: 5000,
  dialMs: 8000,
  keepAliveMs: 60_000,
  placeAliveMs: 25_000,
  compareMs: 600_000,
  redialMinMs: 500,
  redialMaxMs: 20_000,
};
