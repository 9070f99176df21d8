/**
 * The WireGuard keys of this machine's places, one for each deployment. A next one waits beside the one in use until the
 * owners' version has it; then one rename puts it in the old one's place, which destroys that.
 */
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MoatError, errorCode, type DeploymentId } from '@moat/core';
import { loadOrCreateWireguardKey, readWireguardKey, type WireguardKey } from '@moat/identity';

export class PlaceKeys {
  readonly #directory: string;

  /** @param stateDir the keys stand in `wireguard` below it. */
  constructor(stateDir: string) {
    this.#directory = join(stateDir, 'wireguard');
  }

  /** The key in use, made when there is none. @throws the codes of `loadOrCreateWireguardKey` */
  current(id: DeploymentId): Promise<WireguardKey> {
    return loadOrCreateWireguardKey(this.#path(id));
  }

  /** The key to come, if a rotation was begun. @throws the codes of `readWireguardKey` */
  next(id: DeploymentId): Promise<WireguardKey | undefined> {
    return readWireguardKey(this.#nextPath(id));
  }

  /** Begins a rotation, or shows the one that waits. @throws the codes of `loadOrCreateWireguardKey` */
  makeNext(id: DeploymentId): Promise<WireguardKey> {
    return loadOrCreateWireguardKey(this.#nextPath(id));
  }

  /**
   * The key whose public half everybody else has; a next one that is in force becomes the one in use.
   * @throws `WIREGUARD_KEY_UNKNOWN` when this machine holds no such key, the codes of `readWireguardKey`
   */
  async inForce(id: DeploymentId, publicKey: string): Promise<WireguardKey> {
    const next = await this.next(id);
    if (next?.publicKey === publicKey) {
      await this.#takeNext(id);
      return next;
    }
    const current = await readWireguardKey(this.#path(id));
    if (current?.publicKey === publicKey) return current;
    throw new MoatError('WIREGUARD_KEY_UNKNOWN', 'the contract names a WireGuard key that this machine does not hold', {
      next: ['moat wireguard rotate-key', 'then an owner runs: moat apply'],
    });
  }

  /** Deletes the keys of a place that was left. */
  async forget(id: DeploymentId): Promise<void> {
    await Promise.all([this.#path(id), this.#nextPath(id)].map((path) => rm(path, { force: true })));
  }

  async #takeNext(id: DeploymentId): Promise<void> {
    try {
      await rename(this.#nextPath(id), this.#path(id));
    } catch (cause) {
      const path = this.#path(id);
      throw new MoatError('KEY_FILE_UNWRITABLE', `cannot write ${path}`, { cause, reason: errorCode(cause) });
    }
  }

  #path(id: DeploymentId): string {
    return join(this.#directory, `${id}.key`);
  }

  #nextPath(id: DeploymentId): string {
    return join(this.#directory, `${id}.key.next`);
  }
}
