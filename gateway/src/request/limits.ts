/**
 * limits: how much one client address may have. IPv6 clients count by their /64, which is what one subscriber
 * gets. Bound: `maxAddresses` addresses are remembered; the longest unused without connections is dropped.
 */
import { addressKey, type Clock } from '@moat/core';
import type { EdgeCounters } from '../metrics/figures.ts';
import { TokenBucket } from './token-bucket.ts';

export interface ClientLimitsDeps {
  readonly clock: Clock;
  /** Told of every connection. */
  readonly counters?: Pick<EdgeCounters, 'connections' | 'connectionsRefused'>;
}

export interface ClientLimitsOptions {
  readonly connectionsPerClient: number;
  /** All connections of the listener. */
  readonly connections: number;
  /** Requests per second of one client, and as many at once; undefined = any number. */
  readonly requestsPerSecond: number | undefined;
  /** @defaultValue 100000 */
  readonly maxAddresses?: number;
}

interface Client {
  connections: number;
  /** Requests it may make now. */
  tokens: number;
  filledMs: number;
  /** What it made the gateway do for nothing; made with the first of it. */
  misuses?: TokenBucket;
}

/** Requests broken off or unreadable, of all HTTP/2 connections of one client: many people may share an address. */
const MISUSES = { burst: 1_000, perSecond: 200 };

export class ClientLimits {
  readonly #deps: ClientLimitsDeps;
  readonly #options: ClientLimitsOptions;
  readonly #clients = new Map<string, Client>();
  readonly #counters: Pick<EdgeCounters, 'connections' | 'connectionsRefused'> | undefined;
  #connections = 0;

  constructor(deps: ClientLimitsDeps, options: ClientLimitsOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#counters = deps.counters;
  }

  get connections(): number {
    return this.#connections;
  }

  /** Counts a new connection; false = refuse it. Each true is followed by one {@link ClientLimits.leave}. */
  enter(address: string): boolean {
    const entered = this.#enter(address);
    if (this.#counters) this.#counters[entered ? 'connections' : 'connectionsRefused'] += 1;
    return entered;
  }

  #enter(address: string): boolean {
    if (this.#connections >= this.#options.connections) return false;
    const client = this.#client(addressKey(address));
    if (client.connections >= this.#options.connectionsPerClient) return false;
    client.connections += 1;
    this.#connections += 1;
    return true;
  }

  leave(address: string): void {
    const client = this.#clients.get(addressKey(address));
    if (client) client.connections -= 1;
    this.#connections -= 1;
  }

  /** Spends one request. Returns 0, or the milliseconds after which another may be made. */
  spend(address: string): number {
    const rate = this.#options.requestsPerSecond;
    if (rate === undefined) return 0;
    const client = this.#client(addressKey(address));
    const now = this.#deps.clock.now();
    const elapsedMs = Math.max(0, now - client.filledMs);
    client.tokens = Math.min(rate, client.tokens + (elapsedMs * rate) / 1_000);
    client.filledMs = now;
    if (client.tokens < 1) return Math.ceil(((1 - client.tokens) * 1_000) / rate);
    client.tokens -= 1;
    return 0;
  }

  /** Counts work the client made for nothing; false = there was too much of it. */
  spendMisuse(address: string): boolean {
    const client = this.#client(addressKey(address));
    const now = this.#deps.clock.now();
    client.misuses ??= new TokenBucket(MISUSES, now);
    return client.misuses.spend(now);
  }

  #client(key: string): Client {
    let client = this.#clients.get(key);
    if (client) {
      // Order of the map is order of use.
      this.#clients.delete(key);
    } else {
      client = { connections: 0, tokens: this.#options.requestsPerSecond ?? 0, filledMs: this.#deps.clock.now() };
    }
    this.#clients.set(key, client);
    if (this.#clients.size > (this.#options.maxAddresses ?? 100_000)) this.#forget();
    return client;
  }

  #forget(): void {
    for (const [key, client] of this.#clients) {
      if (client.connections > 0) continue;
      this.#clients.delete(key);
      return;
    }
  }
}
