/** Who carries the packets of an interface: the kernel, or a process. */
import type { Place } from './namespace.ts';

export interface Backend {
  readonly kind: 'kernel' | 'userspace';
  /** Where `wg` reaches an interface that stands at `place`. */
  wgNamespace(place: Place): string | null;
  /** Makes an interface, down, its UDP socket in our namespace, and moves it to `place`. */
  create(name: string, place: Place): Promise<void>;
  /** Takes away an interface that may stand at any of `places`, and its process. */
  destroy(name: string, places: readonly Place[]): Promise<void>;
}
