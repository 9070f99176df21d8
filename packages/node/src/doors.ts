/** The ways in that all networks of this machine share: proxy and DNS. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { errorCode, isMoatError } from '@moat/core';
import { readPrivateFile, writePrivateFile } from '@moat/identity';
import {
  createProxy,
  type DnsServer,
  type ProxyDestination,
  type ProxyServer,
  type SocketAddress,
} from '@moat/network';
import type { NodeConfig } from './config.ts';
import { startDns, type StartDnsDeps } from './names/start-dns.ts';

/** Where programs of this machine come in besides the listeners of services. */
export interface Doors {
  proxy(): SocketAddress | null;
  dns(): SocketAddress | null;
  /** Null where the proxy has no password. */
  readonly proxyPasswordFile: string | null;
}

/** One proxy and one DNS for every network here; a name belongs to the first network that has it. */
export class LocalDoors implements Doors {
  readonly #config: NodeConfig;
  readonly #deps: StartDnsDeps;
  #proxy: ProxyServer | undefined;
  #dns: DnsServer | undefined;

  constructor(config: NodeConfig, deps: StartDnsDeps) {
    this.#config = config;
    this.#deps = deps;
  }

  /** Loopback is open to every user of the machine, so `private` asks for a password. */
  get proxyPasswordFile(): string | null {
    const { access, socksPort, stateDir } = this.#config;
    return access === 'private' && socksPort !== null ? join(stateDir, 'proxy.password') : null;
  }

  proxy(): SocketAddress | null {
    return this.#proxy === undefined ? null : { host: this.#proxy.host, port: this.#proxy.port };
  }

  dns(): SocketAddress | null {
    return this.#dns === undefined ? null : { host: this.#dns.host, port: this.#dns.port };
  }

  sockets(): readonly SocketAddress[] {
    return [this.proxy(), this.dns()].filter((socket) => socket !== null);
  }

  /** @throws `LISTEN_FAILED` for a proxy port that the operator named, `KEY_FILE_EXPOSED` and other codes of the password's file */
  async start(): Promise<void> {
    const { access } = this.#config;
    this.#proxy = await this.#startProxy();
    this.#dns = await startDns(this.#config, this.#deps);
    this.#deps.logger.info({ component: 'node' }, REASONS[access]);
  }

  async stop(): Promise<void> {
    await Promise.all([this.#proxy?.stop(), this.#dns?.stop()]);
  }

  async #startProxy(): Promise<ProxyServer | undefined> {
    const { socksPort, socksPortChosen } = this.#config;
    if (socksPort === null) return undefined;
    const { networks, logger } = this.#deps;
    const file = this.proxyPasswordFile;
    const options = file === null ? {} : { password: await passwordIn(file) };
    const resolve = (host: string, port: number): ProxyDestination | undefined => {
      for (const network of networks()) {
        const destination = network.resolve(host, port);
        if (destination !== undefined) return destination;
      }
      return undefined;
    };
    try {
      return await createProxy({ resolve }, { port: socksPort, ...options });
    } catch (error) {
      if (socksPortChosen) throw error;
      // A convenience: a second agent on this machine must not fail for its default port.
      logger.warn({ component: 'node.proxy', code: errorCode(error), err: error }, 'proxy port taken, using another');
      return createProxy({ resolve }, { port: 0, ...options });
    }
  }
}

/** What the agent says on start. */
const REASONS: Readonly<Record<NodeConfig['access'], string>> = {
  loopback: 'every user of this machine reaches the granted services: the member is the machine',
  private: 'services are reached by Unix sockets of forwards, and by the proxy with its password',
};

/** Made once; whoever may read the file may use the proxy. */
async function passwordIn(file: string): Promise<string> {
  try {
    return (await readPrivateFile(file)).trim();
  } catch (error) {
    if (!isMoatError(error, 'KEY_FILE_MISSING')) throw error;
    const password = randomBytes(24).toString('base64url');
    await writePrivateFile(file, `${password}\n`);
    return password;
  }
}
