/**
 * What a service tells systemd (sd_notify): when it is ready, and again and again that it is alive. Node has no datagram Unix
 * sockets, so `systemd-notify` says it, a process of a few milliseconds; hence `NotifyAccess=all` in the unit. Without
 * systemd nothing happens.
 */
import { execFile } from 'node:child_process';

type Environment = Readonly<Record<string, string | undefined>>;

/** A word that takes longer is not waited for. */
const SAY_MS = 5_000;

export class ServiceManager implements Disposable {
  readonly #env: Environment;
  readonly #isThere: boolean;
  #watchdog: NodeJS.Timeout | undefined;

  constructor(env: Environment) {
    this.#env = env;
    this.#isThere = (env['NOTIFY_SOCKET'] ?? '') !== '';
  }

  /** Everything is open; from now on the watchdog hears that the loop turns. */
  ready(status: string): void {
    this.#say('READY=1', `STATUS=${status}`);
    const intervalMs = Number(this.#env['WATCHDOG_USEC'] ?? 0) / 1_000;
    const isOurs = (this.#env['WATCHDOG_PID'] ?? String(process.pid)) === String(process.pid);
    if (!this.#isThere || intervalMs <= 0 || !isOurs) return;
    clearInterval(this.#watchdog);
    this.#watchdog = setInterval(() => this.#say('WATCHDOG=1'), intervalMs / 2).unref();
  }

  reloading(): void {
    this.#say('RELOADING=1');
  }

  stopping(): void {
    this.#say('STOPPING=1');
  }

  [Symbol.dispose](): void {
    clearInterval(this.#watchdog);
  }

  #say(...words: readonly string[]): void {
    if (!this.#isThere) return;
    // Systemd itself notices what it does not hear.
    execFile('systemd-notify', [...words], { env: this.#env, timeout: SAY_MS }, () => undefined);
  }
}
