/** What the DNS says, as it is seen from this machine. */
import { Resolver } from 'node:dns/promises';
import { errorCode } from '@moat/core';

const TRY_MS = 2_000;
const TRIES = 2;

/** Asks the system's resolvers, or `resolvers` (`ADDRESS` or `ADDRESS:PORT`). */
export class Dns {
  readonly #resolver: Resolver = new Resolver({ timeout: TRY_MS, tries: TRIES });

  /** @throws `ERR_INVALID_IP_ADDRESS` */
  constructor(resolvers: readonly string[], signal: AbortSignal) {
    if (resolvers.length > 0) this.#resolver.setServers(resolvers);
    signal.addEventListener('abort', () => this.#resolver.cancel(), { once: true });
  }

  /** None where there are none; rejects where nobody says. */
  async texts(name: string): Promise<string[]> {
    return (await orNone(this.#resolver.resolveTxt(name))).map((pieces) => pieces.join(''));
  }

  async addresses(name: string): Promise<string[]> {
    const both = [this.#resolver.resolve4(name), this.#resolver.resolve6(name)];
    return (await Promise.all(both.map(orNone))).flat();
  }

  async alias(name: string): Promise<string | undefined> {
    const [alias] = await orNone(this.#resolver.resolveCname(name));
    return alias?.toLowerCase().replace(/\.$/, '');
  }
}

async function orNone<T>(asked: Promise<T[]>): Promise<T[]> {
  try {
    return await asked;
  } catch (error) {
    if (['ENOTFOUND', 'ENODATA'].includes(errorCode(error))) return [];
    throw error;
  }
}
