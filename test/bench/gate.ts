/** Keeps other work on the machine out of the figures, as far as patience goes. */
import { setTimeout as delay } from 'node:timers/promises';
import { otherCpuSeconds } from './processes.ts';

/** Cores that programs not ours may use during a measurement. */
export const QUIET_CORES = 0.2;
/** Seconds one look at the machine takes. */
const LOOK_SECONDS = 0.4;

export interface GateOptions {
  /** Seconds of waiting and repeating in all; after that measurements count as they are. */
  readonly patienceSeconds: number;
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  /** CPU seconds of others so far. @defaultValue read from /proc */
  readonly others?: () => number;
}

export interface Gated<T> {
  readonly value: T;
  /** Cores others used during it. */
  readonly otherCores: number;
  readonly repeated: number;
}

export class LoadGate {
  readonly #options: GateOptions;
  #patience: number;
  /** Whether the last that was seen of the machine was quiet: then nobody needs to look again. */
  #wasQuiet = false;

  constructor(options: GateOptions) {
    this.#options = options;
    this.#patience = options.patienceSeconds;
  }

  /** Runs `measure` when the machine is quiet, and again, once, when it was not quiet during it. */
  async run<T>(what: string, measure: () => Promise<T>): Promise<Gated<T>> {
    const { say } = this.#options;
    await this.#quiet();
    const first = await this.#watched(measure);
    if (first.otherCores <= QUIET_CORES) return { ...first, repeated: 0 };
    if (this.#patience <= 0) return { ...first, repeated: 0 };
    say(`${what}: others used ${first.otherCores.toFixed(2)} cores, once more`);
    this.#patience -= first.seconds;
    await this.#quiet();
    const second = await this.#watched(measure);
    const better = second.otherCores <= first.otherCores ? second : first;
    return { ...better, repeated: 1 };
  }

  async #watched<T>(measure: () => Promise<T>): Promise<{ value: T; otherCores: number; seconds: number }> {
    const others = this.#options.others ?? otherCpuSeconds;
    const [before, started] = [others(), performance.now()];
    const value = await measure();
    const seconds = (performance.now() - started) / 1000;
    const otherCores = Math.max(0, others() - before) / seconds;
    this.#wasQuiet = otherCores <= QUIET_CORES;
    return { value, seconds, otherCores };
  }

  async #quiet(): Promise<void> {
    for (let waited = 0; this.#patience > 0 && !this.#wasQuiet; waited += LOOK_SECONDS) {
      const wait = async (): Promise<void> => {
        await delay(LOOK_SECONDS * 1000, undefined, { signal: this.#options.signal });
      };
      const { otherCores } = await this.#watched(wait);
      if (this.#wasQuiet) return;
      if (waited === 0) this.#options.say(`others use ${otherCores.toFixed(2)} cores, waiting`);
      this.#patience -= LOOK_SECONDS;
      if (this.#patience <= 0) this.#options.say('no more patience: from here on measurements count as they are');
    }
  }
}
