/** What a later process must know of the interfaces made here: that they are ours, and where they stand. One file each. */
import { mkdir, open, readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Hidden } from './hidden.ts';
import type { Place } from './namespace.ts';

/** Written before the interface is made, gone after it is removed. */
export interface TunnelRecord {
  readonly name: string;
  readonly place: Place;
  /** Where WireGuard itself stands, when the network is remapped. */
  readonly hidden: Hidden | null;
}

export interface RecordsOptions {
  readonly directory: string;
}

export class Records {
  readonly #directory: string;

  constructor(options: RecordsOptions) {
    this.#directory = options.directory;
  }

  /** Names that have a record. */
  async names(): Promise<readonly string[]> {
    const files = await readdir(this.#directory).catch(() => []);
    return files.filter((file) => file.endsWith('.json')).map((file) => file.slice(0, -'.json'.length));
  }

  /** Undefined when there is none that can be read: the name of an interface still says that it is ours. */
  async read(name: string): Promise<TunnelRecord | undefined> {
    try {
      const value = JSON.parse(await readFile(this.#file(name), 'utf8')) as Partial<TunnelRecord> | null;
      const place = readPlace(value?.place);
      if (!place) return undefined;
      const inside = readPlace(value?.hidden?.place);
      const pid = value?.hidden?.pid;
      return { name, place, hidden: inside && typeof pid === 'number' ? { pid, place: inside } : null };
    } catch {
      return undefined;
    }
  }

  async write(record: TunnelRecord): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const temporary = `${this.#file(record.name)}.new`;
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(JSON.stringify(record));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, this.#file(record.name));
  }

  async remove(name: string): Promise<void> {
    await rm(this.#file(name), { force: true });
  }

  #file(name: string): string {
    return join(this.#directory, `${name}.json`);
  }
}

function readPlace(value: Partial<Place> | undefined): Place | undefined {
  const { path, id } = value ?? {};
  return (path !== null && typeof path !== 'string') || typeof id !== 'string' ? undefined : { path, id };
}
