/**
 * The node key of a gateway, and how it is replaced without anybody pinning the gateway anew. Two steps, each a list
 * that the machines before it sign: first the new key stands beside the old one, so that contracts written from then
 * on name both; then it stands alone, and answers. Between the steps the gateway answers under the old key.
 * Files: `gateway.key` answers, `gateway-next.key` will, `gateway-peers.json` holds the lists, oldest first. Each is
 * written whole before the next is touched; what a crash left half done is done on the next load.
 */
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { errorCode, isMoatError, type PeerId } from '@moat/core';
import { createGatewayPeers, parseGatewayPeerLists, signGatewayPeers, type SignedGatewayPeers } from '@moat/contract';
import { loadOrCreateNodeKey, parseNodeKey, readPrivateFile, writePrivateFile, type NodeKey } from '@moat/identity';
import { refusal } from './errors.ts';

/** Two a rotation; who pinned the gateway before the oldest of them pins it anew. */
const MAX_LISTS = 32;

export interface GatewayKeysOptions {
  readonly directory: string;
  readonly domain: string;
}

export class GatewayKeys {
  readonly #options: GatewayKeysOptions;
  readonly #key: NodeKey;
  #next: NodeKey | undefined;
  #lists: readonly SignedGatewayPeers[];

  private constructor(
    options: GatewayKeysOptions,
    state: { readonly key: NodeKey; readonly next: NodeKey | undefined; readonly lists: readonly SignedGatewayPeers[] },
  ) {
    this.#options = options;
    this.#key = state.key;
    this.#next = state.next;
    this.#lists = state.lists;
  }

  /** Reads the keys, or makes the first. @throws the codes of identity's private files, `CONTRACT_INVALID` */
  static async load(options: GatewayKeysOptions): Promise<GatewayKeys> {
    const { directory } = options;
    const nextPath = join(directory, 'gateway-next.key');
    const lists = await readLists(join(directory, 'gateway-peers.json'));
    const next = await readKey(nextPath);
    const newest = lists.at(-1)?.list.peers;
    if (next !== undefined && newest?.length === 1 && newest[0] === next.peerId) {
      // The last list is out: only the file's name was still to change.
      await replaceKey(nextPath, join(directory, 'gateway.key'));
      return new GatewayKeys(options, { key: next, next: undefined, lists });
    }
    const key = await loadOrCreateNodeKey(join(directory, 'gateway.key'));
    return new GatewayKeys(options, { key, next, lists });
  }

  /** Under which the gateway answers as long as it runs. */
  get key(): NodeKey {
    return this.#key;
  }

  /** The PeerId that will answer, while a rotation is open. */
  get next(): PeerId | undefined {
    return this.#isOpen() ? this.#next?.peerId : undefined;
  }

  /** Every list, oldest first, for whoever pinned an earlier PeerId. */
  get lists(): readonly SignedGatewayPeers[] {
    return this.#lists;
  }

  /**
   * Makes the next key and the list that names both; again changes nothing.
   * @throws `GATEWAY_STOPPING` after {@link finish}: a list that the key it replaced signs would follow from nothing
   */
  async begin(): Promise<PeerId> {
    if (this.#isReplaced()) {
      throw refusal('GATEWAY_STOPPING', 'this gateway is about to answer under its new key', { retryable: true });
    }
    this.#next ??= await loadOrCreateNodeKey(join(this.#options.directory, 'gateway-next.key'));
    const next = this.#next.peerId;
    if (!this.#isOpen()) await this.#add([this.#key.peerId, next], [this.#key]);
    return next;
  }

  /**
   * Makes the list that names the next key alone; who loads the keys from then on answers under it.
   * @throws `ROTATION_NOT_BEGUN`
   */
  async finish(): Promise<PeerId> {
    const next = this.#next;
    if (next === undefined || !this.#isOpen()) {
      throw refusal('ROTATION_NOT_BEGUN', 'no rotation of the key has begun');
    }
    await this.#add([next.peerId], [this.#key, next]);
    return next.peerId;
  }

  /** True while both keys stand in the newest list. */
  #isOpen(): boolean {
    const newest = this.#lists.at(-1)?.list.peers ?? [];
    return newest.length === 2 && this.#next !== undefined && newest.includes(this.#next.peerId);
  }

  #isReplaced(): boolean {
    const newest = this.#lists.at(-1)?.list.peers;
    return newest !== undefined && !newest.includes(this.#key.peerId);
  }

  async #add(peers: readonly PeerId[], signers: readonly NodeKey[]): Promise<void> {
    const { directory, domain } = this.#options;
    const number = (this.#lists.at(-1)?.list.number ?? 0) + 1;
    const before = this.#lists.at(-1)?.list.peers ?? [this.#key.peerId];
    const list = signers.reduce(
      (signed, { signer }) => signGatewayPeers(signed, signer),
      createGatewayPeers({ domain, number, peers, before }),
    );
    const lists = [...this.#lists, list].slice(-MAX_LISTS);
    await writePrivateFile(join(directory, 'gateway-peers.json'), JSON.stringify(lists));
    this.#lists = lists;
  }
}

async function readLists(path: string): Promise<SignedGatewayPeers[]> {
  try {
    return parseGatewayPeerLists(JSON.parse(Buffer.from(await readPrivateFile(path)).toString('utf8')));
  } catch (error) {
    if (isMoatError(error, 'KEY_FILE_MISSING')) return [];
    throw error;
  }
}

async function readKey(path: string): Promise<NodeKey | undefined> {
  try {
    return parseNodeKey(await readPrivateFile(path));
  } catch (error) {
    if (isMoatError(error, 'KEY_FILE_MISSING')) return undefined;
    throw error;
  }
}

async function replaceKey(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (cause) {
    throw refusal('STORE_FAILED', `cannot put ${to} in its place (${errorCode(cause)})`, { cause });
  }
}
