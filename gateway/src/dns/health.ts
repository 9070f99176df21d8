/**
 * Which gateways of the domain clients are sent to. This one is always well: who asks it has an answer. The others are
 * asked for `/.well-known/moat` over https; one that fails twice in a row is left out, one that answers twice is back.
 * When nobody else is well there is still this one, so there is always an answer; when it goes down it names the others.
 */
import { request } from 'node:https';
import { isIP } from 'node:net';
import type { Clock, Logger, Service, Timer } from '@moat/core';

/** Another gateway of the same domain. */
export interface PeerAddress {
  readonly host: string;
  /** Of https. */
  readonly port: number;
}

export interface PeerHealthDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** True when the gateway there answers for the domain. @defaultValue asks it over https */
  readonly probe?: (peer: PeerAddress, domain: string, signal: AbortSignal) => Promise<boolean>;
}

export interface PeerHealthOptions {
  readonly domain: string;
  /** Addresses of this gateway; at least one. */
  readonly own: readonly string[];
  readonly peers: readonly PeerAddress[];
}

const EVERY_MS = 10_000;
const PROBE_MS = 3_000;
/** Answers of one kind in a row that change what is believed. */
const TURNS = 2;
const MAX_BODY_BYTES = 64 * 1_024;

interface Peer {
  readonly address: PeerAddress;
  well: boolean;
  /** Answers in a row that speak against `well`. */
  against: number;
}

export class PeerHealth implements Service {
  readonly #deps: PeerHealthDeps;
  readonly #options: PeerHealthOptions;
  readonly #peers: Peer[];
  readonly #stopped = new AbortController();
  #timer: Timer | undefined;
  #changes = 0;
  #leaving = false;

  constructor(deps: PeerHealthDeps, options: PeerHealthOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#peers = options.peers.map((address) => ({ address, well: true, against: 0 }));
  }

  /** Counts up with each change. */
  get changes(): number {
    return this.#changes;
  }

  /** Where clients are to go; never empty. */
  addresses(): string[] {
    const well = this.#peers.filter((peer) => peer.well).map(({ address }) => address.host);
    // Whoever leaves sends nobody to itself while another is there.
    return this.#leaving && well.length > 0 ? [...new Set(well)] : [...new Set([...this.#options.own, ...well])];
  }

  /** This gateway goes soon. */
  leave(): void {
    this.#leaving = true;
    this.#changes += 1;
  }

  all(): string[] {
    return [...new Set([...this.#options.own, ...this.#peers.map(({ address }) => address.host)])];
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    if (this.#peers.length > 0) void this.#round();
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#stopped.abort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  /** Asks every one of them once. */
  async ask(): Promise<void> {
    await Promise.all(this.#peers.map((peer) => this.#ask(peer)));
  }

  async #round(): Promise<void> {
    await this.ask();
    if (!this.#stopped.signal.aborted) this.#timer = this.#deps.clock.after(EVERY_MS, () => void this.#round());
  }

  async #ask(peer: Peer): Promise<void> {
    const probe = this.#deps.probe ?? probeOverHttps;
    const signal = AbortSignal.any([this.#stopped.signal, AbortSignal.timeout(PROBE_MS)]);
    const well = await probe(peer.address, this.#options.domain, signal).catch(() => false);
    if (this.#stopped.signal.aborted) return;
    peer.against = well === peer.well ? 0 : peer.against + 1;
    if (peer.against < TURNS) return;
    peer.well = well;
    peer.against = 0;
    this.#changes += 1;
    const fields = { component: 'gateway.dns', remoteAddress: peer.address.host };
    if (well) this.#deps.logger.info(fields, 'gateway is back in the answers');
    else this.#deps.logger.warn(fields, 'gateway left out of the answers');
  }
}

/**
 * Asked is whether it serves, not who it is: the address is the operator's word, and what is wrong with its certificate is
 * seen by its own clients.
 */
function probeOverHttps({ host, port }: PeerAddress, domain: string, signal: AbortSignal): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        host,
        port,
        family: isIP(host),
        servername: domain,
        path: '/.well-known/moat',
        headers: { host: domain },
        agent: false,
        rejectUnauthorized: false,
        signal,
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (piece: string) => {
          text += piece;
          if (text.length > MAX_BODY_BYTES) asked.destroy(new Error('the answer is too long'));
        });
        response.once('error', reject);
        response.once('end', () => resolve(response.statusCode === 200 && isAbout(text, domain)));
      },
    );
    asked.once('error', reject);
    asked.end();
  });
}

function isAbout(text: string, domain: string): boolean {
  try {
    return (JSON.parse(text) as { readonly domain?: unknown } | null)?.domain === domain;
  } catch {
    return false;
  }
}
