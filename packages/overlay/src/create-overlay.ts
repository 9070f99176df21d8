import type { Overlay, OverlayDeps, OverlayOptions } from './overlay.ts';

/** Makes the overlay of one machine; nothing is opened before `start`. */
export function createOverlay(deps: OverlayDeps, options: OverlayOptions): Overlay {
  void deps;
  void options;
  throw new Error('under construction');
}
