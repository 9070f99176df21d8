/** Asks a router by NAT-PMP (RFC 6886). Only its own address is heard. */
import { createSocket } from 'node:dgram';
import { MoatError, isMoatError, type Timer } from '@moat/core';
import { createDeadline } from '../deadline.ts';
import { decodeNatPmp, externalRequest, mapRequest, type NatPmpAnswer } from './nat-pmp.ts';
import { mustBePublic } from './outside-address.ts';
import {
  LIFETIME_SECONDS,
  type FindGiver,
  type GivenPort,
  type GiverDeps,
  type PortGiver,
  type Router,
} from './port-giver.ts';

/** Milliseconds before the first repetition; each further one waits twice as long. */
const REPEAT_MS = 250;
/** Milliseconds for an answer. */
const ANSWER_MS = 3500;

export function natPmpFinder(deps: GiverDeps): FindGiver {
  return async (router, signal) => {
    const giver = new NatPmpGiver(deps, router);
    return { giver, outside: await giver.outside(signal) };
  };
}

class NatPmpGiver implements PortGiver {
  readonly protocol = 'nat-pmp';
  readonly #deps: GiverDeps;
  readonly #router: Router;

  constructor(deps: GiverDeps, router: Router) {
    this.#deps = deps;
    this.#router = router;
  }

  async outside(signal: AbortSignal): Promise<string> {
    return mustBePublic((await this.#exchange(externalRequest(), 'external', signal)).host);
  }

  async give(port: number, signal: AbortSignal): Promise<GivenPort> {
    const answer = await this.#exchange(mapRequest(port, LIFETIME_SECONDS), 'mapping', signal);
    const { externalPort, internalPort, lifetimeSeconds } = answer;
    if (internalPort === port && externalPort !== 0 && lifetimeSeconds !== 0) return { externalPort, lifetimeSeconds };
    throw new MoatError('ROUTER_INVALID', 'the router mapped another port');
  }

  async take(port: number, _: GivenPort, signal: AbortSignal): Promise<void> {
    await this.#exchange(mapRequest(port, 0), 'mapping', signal);
  }

  /** Asks until it is answered. */
  async #exchange<K extends NatPmpAnswer['kind']>(
    request: Uint8Array,
    kind: K,
    signal: AbortSignal,
  ): Promise<NatPmpAnswer & { readonly kind: K }> {
    using deadline = createDeadline(this.#deps.clock, ANSWER_MS, signal);
    const socket = createSocket('udp4');
    let repetition: Timer | undefined;
    const { promise, resolve, reject } = Promise.withResolvers<NatPmpAnswer & { readonly kind: K }>();
    const onSilence = (cause?: unknown): void =>
      reject(
        signal.aborted ? (signal.reason as Error) : new MoatError('ROUTER_SILENT', 'no answer by NAT-PMP', { cause }),
      );
    const onAbort = (): void => onSilence();
    const send = (waitMs: number): void => {
      socket.send(request);
      repetition = this.#deps.clock.after(waitMs, () => send(waitMs * 2));
    };
    socket.on('error', onSilence);
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
      socket.connect(this.#router.natPmpPort, this.#router.host);
      return await promise;
    } finally {
      repetition?.cancel();
      deadline.signal.removeEventListener('abort', onAbort);
      socket.close();
    }
  }
}
