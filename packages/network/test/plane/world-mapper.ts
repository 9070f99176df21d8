import type { Endpoint, PortMapper, PortMapping } from '@moat/core';

/** What the router of a member gives it; a test says when. */
export class WorldMapper implements PortMapper {
  readonly #listeners = new Set<(port: number) => void>();
  #mapping: PortMapping | null = null;
  asked = 0;
  givenBack = 0;

  /** From now on the router leads `external` to the port, or nothing any more. */
  grant(port: number, external: Endpoint | null): void {
    this.#mapping = external === null ? null : { external, expires: Infinity, protocol: 'upnp' };
    for (const listener of this.#listeners) listener(port);
  }

  map(): Promise<PortMapping | null> {
    this.asked += 1;
    return Promise.resolve(this.#mapping);
  }

  mapping(): PortMapping | null {
    return this.#mapping;
  }

  onChange(listener: (port: number) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  unmap(): Promise<void> {
    this.givenBack += 1;
    return Promise.resolve();
  }
}
