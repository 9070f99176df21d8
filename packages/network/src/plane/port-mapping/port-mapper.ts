import { createSocket } from 'node:dgram';
import { readFile } from 'node:fs/promises';
import {
  MoatError,
  errorCode,
  isMoatError,
  type Clock,
  type Endpoint,
  type Logger,
  type PortMapper,
  type PortMapping,
  type Timer,
} from '@moat/core';
import { createDeadline } from '../deadline.ts';
import { NAT_PMP_PORT, decodeNatPmp, externalRequest, mapRequest, type NatPmpAnswer } from './nat-pmp.ts';

/** Seconds that a mapping is asked for; a program that is killed leaves it behind for so long. */
const LIFETIME_SECONDS = 3600;
/** Milliseconds before the first repetition; each further one waits twice as long. */
const REPEAT_MS = 250;
/** Milliseconds for an answer, and at least until a mapping is renewed. */
const ANSWER_MS = 3500;
const LEAST_RENEW_MS = 30_000;
/** Milliseconds for which a router that did not answer is not asked again. */
const SILENT_MS = 600_000;
/** Milliseconds to take a mapping back when the agent stops. */
const UNMAP_MS = 1000;

export interface NatPmpMapperDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  /** @defaultValue the default gateway of this machine, as Linux tells it */
  readonly router?: () => Promise<Endpoint | null>;
}

interface Held {
  readonly mapping: PortMapping;
  readonly router: Endpoint;
  readonly renewal: Timer;
}

/**
 * Asks the default gateway by NAT-PMP (RFC 6886). Only its own address is heard, and what it says is believed only where
 * it names a public address: behind a second router a mapping leads nowhere. Bound: one mapping a port of ours.
 */
export class NatPmpMapper implements PortMapper {
  readonly #deps: NatPmpMapperDeps;
  readonly #held = new Map<number, Held>();
  #silent: { readonly host: string; readonly until: number } | undefined;

  constructor(deps: NatPmpMapperDeps) {
    this.#deps = deps;
  }

  async map(port: number, signal: AbortSignal): Promise<PortMapping | null> {
    signal.throwIfAborted();
    const router = await (this.#deps.router ?? defaultRouter)();
    const held = this.#held.get(port);
    const isSame = held !== undefined && held.router.host === router?.host;
    if (isSame && held.mapping.expires - this.#deps.clock.now() > LEAST_RENEW_MS) return held.mapping;
    if (router === null) return null;
    if (this.#silent?.host === router.host && this.#deps.clock.now() < this.#silent.until) return null;
    try {
      return await this.#ask(router, port, signal);
    } catch (error) {
      signal.throwIfAborted();
      const code = errorCode(error);
      this.#deps.logger.debug({ host: router.host, code }, 'the router maps no port');
      this.#silent = { host: router.host, until: this.#deps.clock.now() + SILENT_MS };
      return null;
    }
  }

  async unmap(port: number): Promise<void> {
    const held = this.#held.get(port);
    if (held === undefined) return;
    this.#forget(port);
    const deadline = AbortSignal.timeout(UNMAP_MS);
    await this.#exchange(held.router, mapRequest(port, 0), 'mapping', deadline).catch(() => undefined);
  }

  /** Takes all mappings back, as far as the router answers within a second. */
  async stop(): Promise<void> {
    await Promise.all([...this.#held.keys()].map((port) => this.unmap(port)));
  }

  async #ask(router: Endpoint, port: number, signal: AbortSignal): Promise<PortMapping | null> {
    const outside = await this.#exchange(router, externalRequest(), 'external', signal);
    if (!isPublic(outside.host)) return null;
    const answer = await this.#exchange(router, mapRequest(port, LIFETIME_SECONDS), 'mapping', signal);
    const { externalPort, internalPort, lifetimeSeconds } = answer;
    if (internalPort !== port || externalPort === 0 || lifetimeSeconds === 0) return null;
    const lifetimeMs = Math.min(lifetimeSeconds, LIFETIME_SECONDS) * 1000;
    const expires = this.#deps.clock.now() + lifetimeMs;
    const mapping: PortMapping = { external: { host: outside.host, port: externalPort }, expires };
    this.#forget(port);
    const renewMs = Math.max(LEAST_RENEW_MS, lifetimeMs / 2);
    const renewal = this.#deps.clock.after(renewMs, () => void this.#renew(port));
    this.#held.set(port, { mapping, router, renewal });
    return mapping;
  }

  /** One that fails leaves the mapping to its end; whoever asks then gets another. */
  async #renew(port: number): Promise<void> {
    const held = this.#held.get(port);
    if (held === undefined) return;
    try {
      await this.#ask(held.router, port, new AbortController().signal);
    } catch (error) {
      this.#deps.logger.debug({ port, code: errorCode(error) }, 'a mapping of the router was not renewed');
      if (this.#held.get(port) === held) this.#forget(port);
    }
  }

  #forget(port: number): void {
    this.#held.get(port)?.renewal.cancel();
    this.#held.delete(port);
  }

  /** Asks until it is answered. @throws `ROUTER_REFUSED`, `ROUTER_SILENT`, the signal's reason, or Node's own error */
  async #exchange<K extends NatPmpAnswer['kind']>(
    router: Endpoint,
    request: Uint8Array,
    kind: K,
    signal: AbortSignal,
  ): Promise<NatPmpAnswer & { readonly kind: K }> {
    using deadline = createDeadline(this.#deps.clock, ANSWER_MS, signal);
    const socket = createSocket('udp4');
    let repetition: Timer | undefined;
    const { promise, resolve, reject } = Promise.withResolvers<NatPmpAnswer & { readonly kind: K }>();
    const onAbort = (): void =>
      reject(signal.aborted ? (signal.reason as Error) : new MoatError('ROUTER_SILENT', 'the router does not answer'));
    const send = (waitMs: number): void => {
      socket.send(request);
      repetition = this.#deps.clock.after(waitMs, () => send(waitMs * 2));
    };
    socket.on('error', reject);
    // Connected: the kernel drops what comes from anybody else.
    socket.on('connect', () => send(REPEAT_MS));
    socket.on('message', (packet) => {
      try {
        const answer = decodeNatPmp(packet);
        if (answer.kind === kind) resolve(answer as NatPmpAnswer & { readonly kind: K });
      } catch (error) {
        if (isMoatError(error, 'ROUTER_REFUSED')) reject(error);
      }
    });
    if (deadline.signal.aborted) onAbort();
    deadline.signal.addEventListener('abort', onAbort, { once: true });
    try {
      socket.connect(router.port, router.host);
      return await promise;
    } finally {
      repetition?.cancel();
      deadline.signal.removeEventListener('abort', onAbort);
      socket.close();
    }
  }
}

/** From the table of routes (proc(5); addresses are little endian); null elsewhere than on Linux. */
async function defaultRouter(): Promise<Endpoint | null> {
  let table: string;
  try {
    table = await readFile('/proc/net/route', 'utf8');
  } catch {
    return null;
  }
  const host = defaultGatewayOf(table);
  return host === null ? null : { host, port: NAT_PMP_PORT };
}

/** The gateway of the default route with the least metric in `/proc/net/route`. */
export function defaultGatewayOf(table: string): string | null {
  const routes = table
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(
      ([, destination, gateway, , , , , mask]) =>
        destination === '00000000' && mask === '00000000' && gateway !== '00000000',
    )
    .sort((a, b) => Number(a[6]) - Number(b[6]));
  const gateway = routes[0]?.[2];
  if (gateway === undefined || !/^[0-9A-F]{8}$/i.test(gateway)) return null;
  return [...Buffer.from(gateway, 'hex')].reverse().join('.');
}

/** Not of a LAN, a carrier's own network, this machine or nobody. */
function isPublic(host: string): boolean {
  const [a = 0, b = 0] = host.split('.').map(Number);
  if (a === 0 || a === 10 || a === 127 || a >= 224) return false;
  if ((a === 169 && b === 254) || (a === 192 && b === 168)) return false;
  return !(a === 172 && b >= 16 && b < 32) && !(a === 100 && b >= 64 && b < 128);
}
