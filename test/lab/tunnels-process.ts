/** The port `Tunnels` in a process of its own, in a namespace: killed like an agent, and started again. */
import { MoatError, type Tunnels } from '@moat/core';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

interface Answer {
  readonly id: number;
  readonly value?: unknown;
  readonly code?: string;
  readonly message?: string;
}

const CALLS = ['apply', 'cut', 'peers', 'setPeer', 'probe', 'endProbe', 'list', 'remove'] as const;

export class TunnelsProcess implements Disposable {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #calls = 0;
  /** Calls into the process; each fails with the code that failed there. */
  readonly tunnels: Pick<Tunnels, (typeof CALLS)[number]>;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.on('message', (message) => {
      const answer = message as Answer;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    const methods = CALLS.map((call) => [call, (...args: unknown[]) => this.#call(call, args)]);
    this.tunnels = Object.fromEntries(methods) as Pick<Tunnels, (typeof CALLS)[number]>;
  }

  /** `directory` outlives the process. */
  static async start(namespace: string, directory: string): Promise<TunnelsProcess> {
    const program = [
      process.execPath,
      '--conditions=@moat/source',
      join(import.meta.dirname, 'tunnels-main.ts'),
      directory,
    ];
    const child = spawn('ip', ['netns', 'exec', namespace, ...program], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    await once(child, 'message', { signal: AbortSignal.timeout(20_000) });
    return new TunnelsProcess(child);
  }

  /** As by `kill -9`: nothing is said, nothing is tidied up. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }

  async #call(call: string, args: readonly unknown[]): Promise<unknown> {
    this.#calls += 1;
    const id = this.#calls;
    const { promise, resolve } = Promise.withResolvers<Answer>();
    this.#waiting.set(id, resolve);
    this.#child.send({ id, call, args });
    const { code, message, value } = await promise;
    if (code !== undefined) throw new MoatError(code, message ?? code);
    return value;
  }
}
