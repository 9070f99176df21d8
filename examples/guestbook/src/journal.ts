/**
 * An append-only file of checksummed JSON lines, each an array of the entries that shared one fsync.
 * A crash at any instant loses nothing that was acknowledged: `append` resolves after fsync, and as
 * only the last line can be torn, whatever order the disk wrote its blocks in, it is cut off on open.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { crc32 } from 'node:zlib';
import type { Entry } from './entry.ts';
import { GuestbookError } from './errors.ts';

export interface JournalOptions {
  /** Appends above this are refused. @defaultValue 64 MiB */
  readonly maxBytes?: number;
  /** Entries waiting for the disk; more are refused with `BUSY`. @defaultValue 1024 */
  readonly maxWaiting?: number;
}

interface Waiting {
  readonly entry: Entry;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Entries that arrive while the disk is busy share the next fsync. */
export class Journal implements AsyncDisposable {
  readonly #file: FileHandle;
  readonly #maxBytes: number;
  readonly #maxWaiting: number;
  #waiting: Waiting[] = [];
  #size: number;
  #writing: Promise<void> | undefined;

  private constructor(file: FileHandle, size: number, options: JournalOptions) {
    this.#file = file;
    this.#size = size;
    this.#maxBytes = options.maxBytes ?? 64 * 1024 * 1024;
    this.#maxWaiting = options.maxWaiting ?? 1024;
  }

  /**
   * Opens or creates the file and reads what is in it.
   * @throws `JOURNAL_DAMAGED` when a line before the last one fails its checksum.
   */
  static async open(
    path: string,
    options: JournalOptions = {},
  ): Promise<{ readonly journal: Journal; readonly entries: readonly Entry[] }> {
    const file = await open(path, 'a+', 0o600);
    try {
      const bytes = await file.readFile();
      const { entries, validBytes } = decode(bytes, path);
      if (validBytes < bytes.length) await file.truncate(validBytes);
      await file.sync();
      await syncDirectory(dirname(path));
      return { journal: new Journal(file, validBytes, options), entries };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /**
   * Resolves once `entry` is on the disk.
   * @throws `BUSY`, `JOURNAL_FULL`, or the file system's error; then the entry is not in the file.
   */
  append(entry: Entry): Promise<void> {
    if (this.#waiting.length >= this.#maxWaiting) {
      return Promise.reject(new GuestbookError('BUSY', 'too many entries wait for the disk'));
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ entry, resolve, reject });
      this.#writing ??= this.#drain();
    });
  }

  /** Writes what waits, then closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      await this.#writeBatch(batch);
    }
    this.#writing = undefined;
  }

  async #writeBatch(batch: readonly Waiting[]): Promise<void> {
    const bytes = encode(batch.map((waiting) => waiting.entry));
    try {
      if (this.#size + bytes.length > this.#maxBytes) {
        throw new GuestbookError('JOURNAL_FULL', `the file has reached ${this.#maxBytes} bytes`);
      }
      await this.#file.appendFile(bytes);
      await this.#file.datasync();
      this.#size += bytes.length;
      for (const waiting of batch) waiting.resolve();
    } catch (error) {
      // What may have been written in part must not stay in front of the next batch.
      await this.#file.truncate(this.#size).catch(() => undefined);
      for (const waiting of batch) waiting.reject(error as Error);
    }
  }
}

function encode(entries: readonly Entry[]): Buffer {
  const json = JSON.stringify(entries);
  return Buffer.from(`${checksum(json)} ${json}\n`);
}

function decode(bytes: Buffer, path: string): { entries: Entry[]; validBytes: number } {
  const entries: Entry[] = [];
  let lines = 0;
  let start = 0;
  while (start < bytes.length) {
    const end = bytes.indexOf(0x0a, start);
    if (end < 0) break;
    const line = bytes.toString('utf8', start, end);
    const json = line.slice(9);
    if (line.slice(0, 9) !== `${checksum(json)} `) {
      if (end + 1 >= bytes.length) break;
      throw new GuestbookError('JOURNAL_DAMAGED', `${path}: line ${lines + 1} fails its checksum`);
    }
    entries.push(...(JSON.parse(json) as Entry[]));
    lines += 1;
    start = end + 1;
  }
  return { entries, validBytes: start };
}

function checksum(json: string): string {
  return crc32(json).toString(16).padStart(8, '0');
}

/** Makes the file's name as durable as its content. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
