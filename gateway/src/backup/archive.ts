/**
 * A backup as one file: a line of JSON that says what it is, then a line that lists files with sizes and hashes, then their bytes. With a passphrase
 * everything behind the first line is AES-256-GCM under a key from scrypt, the first line as associated data and the tag
 * at the end. Nothing of it is held whole in memory.
 */
import { createCipheriv, createDecipheriv, createHash, randomBytes, scrypt, type DecipherGCM } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, open, rename, rm, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MoatError, fromBase64url, toBase64url } from '@moat/core';
import { refusal } from '../errors.ts';

const TYPE = 'moat/gateway-backup/1';
/** Half a second and 128 MiB for each guess. */
const SCRYPT = { N: 2 ** 17, r: 8, p: 1, maxmem: 256 * 1024 * 1024 };
const TAG_BYTES = 16;
const MAX_LINE_BYTES = 64 * 1024;
const CHUNK_BYTES = 64 * 1024;

/** What anybody who has the file can read. */
export interface BackupFacts {
  readonly created: string;
  readonly domain: string;
  readonly peer: string;
  readonly version: string;
}

interface Header extends BackupFacts {
  readonly type: typeof TYPE;
  /** Base64url; absent = the rest is in the clear. */
  readonly salt?: string;
  readonly nonce?: string;
}

interface Entry {
  readonly name: string;
  readonly bytes: number;
  /** SHA-256, base64url. */
  readonly hash: string;
}

const deriveKey = promisify<string, Buffer, number, object, Buffer>(scrypt);

/** Writes `target` (0600) whole or not at all. @throws what the file system throws */
export async function packBackup(
  directory: string,
  names: readonly string[],
  facts: BackupFacts,
  options: { readonly target: string; readonly passphrase: string | null },
): Promise<{ readonly bytes: number }> {
  const { target, passphrase } = options;
  const secrets = passphrase === null ? undefined : { salt: randomBytes(16), nonce: randomBytes(12) };
  const header: Header = {
    type: TYPE,
    ...facts,
    ...(secrets && { salt: toBase64url(secrets.salt), nonce: toBase64url(secrets.nonce) }),
  };
  const first = Buffer.from(`${JSON.stringify(header)}\n`);
  const entries = await Promise.all(names.map((name) => entryOf(directory, name)));
  const temporary = `${target}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await using file = await open(temporary, 'wx', 0o600);
    await file.writeFile(first);
    const cipher = secrets && createCipheriv('aes-256-gcm', await keyOf(passphrase ?? '', secrets.salt), secrets.nonce);
    cipher?.setAAD(first);
    const write = async (bytes: Buffer): Promise<void> => file.writeFile(cipher ? cipher.update(bytes) : bytes);
    await write(Buffer.from(`${JSON.stringify(entries)}\n`));
    for (const { name } of entries) {
      const source = createReadStream(join(directory, name), { highWaterMark: CHUNK_BYTES });
      for await (const chunk of source as AsyncIterable<Buffer>) await write(chunk);
    }
    if (cipher) await file.writeFile(Buffer.concat([cipher.final(), cipher.getAuthTag()]));
    await file.sync();
    await rename(temporary, target);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  return { bytes: (await stat(target)).size };
}

/** True when the backup needs a passphrase. @throws `BACKUP_INVALID` */
export async function isSealedBackup(path: string): Promise<boolean> {
  await using file = await open(path, 'r');
  return (await readHeader(file)).header.salt !== undefined;
}

/**
 * Writes the files of a backup into `directory`, which must be new. Nothing of them may be used before this returns:
 * only then is it sure that they are what was packed.
 * @throws `BACKUP_INVALID`, `KEY_LOCKED`, `PASSPHRASE_WRONG`
 */
export async function unpackBackup(
  path: string,
  directory: string,
  passphrase: string | null,
): Promise<BackupFacts & { readonly files: readonly string[] }> {
  await using file = await open(path, 'r');
  const { header, first } = await readHeader(file);
  const { size } = await file.stat();
  const sealed = header.salt !== undefined;
  if (sealed && passphrase === null) throw new MoatError('KEY_LOCKED', 'the backup is sealed and needs its passphrase');
  const end = sealed ? size - TAG_BYTES : size;
  const decipher = sealed ? await decipherOf(header, first, passphrase ?? '', await tagOf(file, end)) : undefined;
  // Read to its tag first: nothing is made of bytes that may be anybody's.
  if (decipher) for await (const _chunk of chunksOf(file, first.length, end, decipher()));
  await mkdir(directory, { mode: 0o700 });
  const rest = chunksOf(file, first.length, end, decipher?.());
  const files: string[] = [];
  const reader = new Reader(rest);
  for (const { name, bytes, hash } of parseEntries(await reader.line())) {
    await using out = await open(join(directory, name), 'wx', 0o600);
    const digest = createHash('sha256');
    for await (const chunk of reader.take(bytes)) {
      digest.update(chunk);
      await out.writeFile(chunk);
    }
    if (toBase64url(digest.digest()) !== hash) throw invalid(`${name} is not what was packed`);
    await out.sync();
    files.push(name);
  }
  await reader.finish();
  const { created, domain, peer, version } = header;
  return { created, domain, peer, version, files };
}

/** Bytes of a stream, by lines and by number. */
class Reader {
  readonly #chunks: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(chunks: AsyncIterable<Buffer>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  async line(): Promise<string> {
    for (let at = this.#rest.indexOf(10); ; at = this.#rest.indexOf(10)) {
      if (at >= 0) {
        const line = this.#rest.subarray(0, at).toString();
        this.#rest = this.#rest.subarray(at + 1);
        return line;
      }
      if (this.#rest.length > MAX_LINE_BYTES || !(await this.#more())) throw invalid('it cannot be read');
    }
  }

  async *take(bytes: number): AsyncGenerator<Buffer> {
    for (let left = bytes; left > 0;) {
      if (this.#rest.length === 0 && !(await this.#more())) throw invalid('it ends too early');
      const part = this.#rest.subarray(0, left);
      this.#rest = this.#rest.subarray(part.length);
      left -= part.length;
      yield part;
    }
  }

  /** Nothing may stand behind; reads on until the tag was checked. */
  async finish(): Promise<void> {
    if (this.#rest.length > 0 || (await this.#more())) throw invalid('something stands behind its end');
  }

  async #more(): Promise<boolean> {
    const next = await this.#chunks.next();
    if (next.done === true) return false;
    this.#rest = this.#rest.length === 0 ? next.value : Buffer.concat([this.#rest, next.value]);
    return true;
  }
}

async function* chunksOf(
  file: FileHandle,
  start: number,
  end: number,
  decipher: DecipherGCM | undefined,
): AsyncGenerator<Buffer> {
  for (let at = start; at < end;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(Math.min(CHUNK_BYTES, end - at)), 0, undefined, at);
    if (bytesRead === 0) throw invalid('it ends too early');
    at += bytesRead;
    const bytes = buffer.subarray(0, bytesRead);
    yield decipher ? decipher.update(bytes) : bytes;
  }
  try {
    decipher?.final();
  } catch (cause) {
    throw new MoatError('PASSPHRASE_WRONG', 'the passphrase is wrong, or the backup was changed', { cause });
  }
}

async function readHeader(file: FileHandle): Promise<{ readonly header: Header; readonly first: Buffer }> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(MAX_LINE_BYTES), 0, MAX_LINE_BYTES, 0);
  const first = buffer.subarray(0, buffer.subarray(0, bytesRead).indexOf(10) + 1);
  const header = parseJson(first.toString()) as Partial<Header> | null;
  if (header?.type !== TYPE || typeof header.domain !== 'string') throw invalid('it is no backup of a gateway');
  return { header: header as Header, first };
}

/** The way to a decipher, since each reads the backup once. */
async function decipherOf(header: Header, first: Buffer, passphrase: string, tag: Buffer): Promise<() => DecipherGCM> {
  const salt = Buffer.from(fromBase64url(header.salt ?? ''));
  const nonce = fromBase64url(header.nonce ?? '');
  const key = await keyOf(passphrase, salt);
  return () => {
    const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
    decipher.setAAD(first);
    decipher.setAuthTag(tag);
    return decipher;
  };
}

async function tagOf(file: FileHandle, at: number): Promise<Buffer> {
  const { bytesRead, buffer } = await file.read(Buffer.alloc(TAG_BYTES), 0, TAG_BYTES, Math.max(0, at));
  if (bytesRead < TAG_BYTES) throw invalid('it ends too early');
  return buffer;
}

function keyOf(passphrase: string, salt: Buffer): Promise<Buffer> {
  return deriveKey(passphrase.normalize('NFC'), salt, 32, SCRYPT);
}

async function entryOf(directory: string, name: string): Promise<Entry> {
  const digest = createHash('sha256');
  let bytes = 0;
  for await (const chunk of createReadStream(join(directory, name)) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    digest.update(chunk);
  }
  return { name, bytes, hash: toBase64url(digest.digest()) };
}

/** Names without directories: a backup never writes beside its own place. */
function parseEntries(line: string): Entry[] {
  const entries = parseJson(line);
  if (!Array.isArray(entries) || entries.length > 1_000) throw invalid('it lists no files');
  return entries.map((entry: Partial<Entry> | null) => {
    const { name, bytes, hash } = entry ?? {};
    if (typeof name !== 'string' || !/^[\w-][\w.-]{0,99}$/.test(name)) throw invalid('it lists a strange name');
    if (!Number.isSafeInteger(bytes) || typeof hash !== 'string') throw invalid('it lists no files');
    return { name, bytes: bytes ?? 0, hash };
  });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function invalid(why: string): Error {
  return refusal('BACKUP_INVALID', `this backup cannot be used: ${why}`);
}
