/** One port of ours, and what the router leads to it: asked for, renewed, asked for again, and given back. */
import { errorCode, type Clock, type Logger, type PortMapping, type Timer } from '@moat/core';
import { createDeadline, orAborted } from '../deadline.ts';
import { isSameRouter, renewPort, type GrantedPort } from './ask-router.ts';
import { LIFETIME_SECONDS, type Router } from './port-giver.ts';

/** Milliseconds until a mapping is renewed, at least. */
const LEAST_RENEW_MS = 30_000;
/** Milliseconds until a router that granted nothing is asked again, doubled each time; before, only another router is. */
const [AGAIN_MS, AGAIN_MAX_MS] = [600_000, 3_600_000];
/** Milliseconds for giving a mapping back, whatever the router does. */
const GIVE_BACK_MS = 2_000;

export interface KeptPortDeps {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly router: () => Promise<Router | null>;
  /** @throws any coded error, or the signal's reason */
  readonly ask: (router: Router, signal: AbortSignal) => Promise<GrantedPort>;
  readonly onChange: () => void;
}

export class KeptPort {
  readonly #deps: KeptPortDeps;
  readonly #port: number;
  #held: GrantedPort | undefined;
  #mapping: PortMapping | null = null;
  #timer: Timer | undefined;
  #refused: { readonly router: Router; readonly until: number; readonly waitMs: number } | undefined;
  #running: AbortController | undefined;
  /** Steps run one after another; none rejects. */
  #steps: Promise<void> = Promise.resolve();
  #isOver = false;

  constructor(deps: KeptPortDeps, port: number) {
    this.#deps = deps;
    this.#port = port;
  }

  get mapping(): PortMapping | null {
    const mapping = this.#mapping;
    return mapping !== null && mapping.expires > this.#deps.clock.now() ? mapping : null;
  }

  /** Asks the router that there is now; what another one led here counts no more. Resolves when it is known. */
  async map(): Promise<PortMapping | null> {
    this.#running?.abort(new Error('the network changed'));
    await this.#step((signal) => this.#ask(false, signal));
    return this.mapping;
  }

  /** Gives back what the same router leads here, as far as it answers. Nothing is asked any more. */
  async giveBack(): Promise<void> {
    this.#end();
    using deadline = createDeadline(this.#deps.clock, GIVE_BACK_MS, new AbortController().signal);
    try {
      // What is being asked for may have been granted already.
      await orAborted(this.#steps, deadline.signal).finally(() => this.#running?.abort(deadline.signal.reason));
      const held = this.#held;
      if (held === undefined || !isSameRouter(held.router, await this.#deps.router())) return;
      await held.giver.take(this.#port, held.given, deadline.signal);
    } catch (error) {
      this.#deps.logger.debug(
        { port: this.#port, code: errorCode(error) },
        'the router was not told that a port is free',
      );
    }
  }

  /** Asks and renews nothing any more; what the router leads here stays until it ends. */
  async stop(): Promise<void> {
    this.#end();
    this.#running?.abort(new Error('the agent stops'));
    await this.#steps;
  }

  #end(): void {
    this.#isOver = true;
    this.#timer?.cancel();
    this.#mapping = null;
  }

  #step(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#steps = this.#steps.then(async () => {
      if (this.#isOver) return;
      this.#timer?.cancel();
      this.#running = new AbortController();
      await work(this.#running.signal);
      this.#running = undefined;
    });
    return this.#steps;
  }

  async #ask(isOurTurn: boolean, signal: AbortSignal): Promise<void> {
    const { clock, logger, router: findRouter } = this.#deps;
    const router = await findRouter();
    if (this.#held !== undefined && !isSameRouter(this.#held.router, router)) this.#forget();
    if (router === null) return this.#again(AGAIN_MS);
    const refused = this.#refused;
    const leftMs = (refused?.until ?? 0) - clock.now();
    if (refused !== undefined && !isOurTurn && leftMs > 0 && isSameRouter(refused.router, router))
      return this.#again(leftMs);
    try {
      this.#take(await this.#granted(router, signal));
    } catch (error) {
      if (signal.aborted) return;
      logger.debug({ host: router.host, port: this.#port, code: errorCode(error) }, 'the router maps no port');
      this.#notGranted(router, isOurTurn);
    }
  }

  /** Its address at the router may be another since it was restarted: then it is looked for anew. */
  async #granted(router: Router, signal: AbortSignal): Promise<GrantedPort> {
    if (this.#held !== undefined) {
      try {
        return await renewPort(this.#held, this.#port, signal);
      } catch (error) {
        signal.throwIfAborted();
        this.#deps.logger.debug(
          { port: this.#port, code: errorCode(error) },
          'a mapping of the router was not renewed',
        );
      }
    }
    return this.#deps.ask(router, signal);
  }

  #take(granted: GrantedPort): void {
    const { given, external, giver } = granted;
    const lifetimeSeconds = Math.min(given.lifetimeSeconds ?? LIFETIME_SECONDS, LIFETIME_SECONDS);
    this.#held = granted;
    this.#refused = undefined;
    const expires = this.#deps.clock.now() + lifetimeSeconds * 1000;
    // Also one without an end: the router may have forgotten it.
    this.#again(Math.max(LEAST_RENEW_MS, (lifetimeSeconds * 1000) / 2));
    this.#become({ external, expires, protocol: giver.protocol });
  }

  #notGranted(router: Router, isOurTurn: boolean): void {
    const { clock } = this.#deps;
    const leftMs = (this.mapping?.expires ?? 0) - clock.now();
    // In the same network it still leads here, until its end.
    if (isOurTurn && leftMs > LEAST_RENEW_MS) return this.#again(Math.max(LEAST_RENEW_MS, leftMs / 2));
    const before = this.#refused;
    const isAgain = before !== undefined && isSameRouter(before.router, router);
    const waitMs = isAgain ? Math.min(before.waitMs * 2, AGAIN_MAX_MS) : AGAIN_MS;
    this.#refused = { router, until: clock.now() + waitMs, waitMs };
    this.#forget();
    this.#again(waitMs);
  }

  #again(waitMs: number): void {
    this.#timer?.cancel();
    if (!this.#isOver)
      this.#timer = this.#deps.clock.after(waitMs, () => void this.#step((signal) => this.#ask(true, signal)));
  }

  #forget(): void {
    this.#held = undefined;
    this.#become(null);
  }

  #become(mapping: PortMapping | null): void {
    // One that had ended is none.
    const before = this.mapping;
    this.#mapping = this.#isOver ? null : mapping;
    const isOther =
      before?.external.host !== mapping?.external.host || before?.external.port !== mapping?.external.port;
    if (isOther && !this.#isOver) this.#deps.onChange();
  }
}
