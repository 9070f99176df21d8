/** What is kept of certificates, with their keys, in one private file (0600) that is replaced whole. */
import {
  MemoryCertificateStore,
  type CertificateChange,
  type CertificateState,
  type CertificateStore,
} from '@moat/acme';
import { MoatError, isMoatError } from '@moat/core';
import { readPrivateFile, writePrivateFile } from '@moat/identity';

/** Bound: what is wanted; of each name one certificate, one order and one failure an authority. */
export class FileCertificateStore implements CertificateStore {
  readonly #path: string;
  readonly #memory = new MemoryCertificateStore();
  #last: Promise<unknown> = Promise.resolve();

  constructor(path: string) {
    this.#path = path;
  }

  /** @throws `STATE_UNUSABLE`, and the codes of identity's private files */
  async load(): Promise<CertificateState> {
    let text: string;
    try {
      text = await readPrivateFile(this.#path);
    } catch (error) {
      if (isMoatError(error, 'KEY_FILE_MISSING')) return this.#memory.load();
      throw error;
    }
    try {
      const { accounts, orders, certificates, failures, spent } = JSON.parse(text) as CertificateState;
      for (const account of accounts) await this.#memory.commit({ account });
      for (const order of orders) await this.#memory.commit({ order });
      for (const certificate of certificates) await this.#memory.commit({ certificate });
      for (const failure of failures) await this.#memory.commit({ failure });
      await this.#memory.commit({ spent });
    } catch (cause) {
      throw new MoatError('STATE_UNUSABLE', `${this.#path} is no store of certificates`, { cause });
    }
    return this.#memory.load();
  }

  /** One after the other; resolves when it is on disk. */
  commit(change: CertificateChange): Promise<void> {
    const written = this.#last.then(async () => {
      await this.#memory.commit(change);
      await writePrivateFile(this.#path, JSON.stringify(await this.#memory.load()), { replace: true });
    });
    this.#last = written.catch(() => undefined);
    return written;
  }
}
