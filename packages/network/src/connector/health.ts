/**
 * Asks this member's own http services how they are (`health: /path` in the contract), over the same strict
 * connector as everybody else's requests. An unhealthy one is refused at once, so that openers and
 * gateways go to another instance.
 */
import type { Timer } from '@moat/core';
import { parseTarget } from '../exposed.ts';
import { createStreamPair } from '../stream-pair.ts';
import { serveHttp, type HttpDeps } from './http1.ts';

/** A service with a health path, at its target on this machine. */
export interface CheckedService {
  readonly name: string;
  /** Host header of the question. */
  readonly host: string;
  /** `host:port` */
  readonly target: string;
  /** Sent first on each connection. */
  readonly preamble?: Uint8Array | undefined;
  /** Path and query. */
  readonly path: string;
}

export interface HealthOptions {
  /** From one answer to the next question. @defaultValue 5000 */
  readonly intervalMs?: number;
  /** A slower answer is a failure. @defaultValue 2000 */
  readonly timeoutMs?: number;
}

export interface HealthDeps extends HttpDeps {
  /** Called when a service becomes unhealthy or well again. */
  onChange(service: string, healthy: boolean): void;
}

/** One bad answer may be chance. */
const FAILURES_TO_UNHEALTHY = 2;

interface Check {
  readonly service: CheckedService;
  failures: number;
  timer: Timer | undefined;
  /** Ends the question under way. */
  cancel: (() => void) | undefined;
}

/** One question at a time and service; a service counts as healthy until it failed twice in a row. */
export class HealthChecks {
  readonly #deps: HealthDeps;
  readonly #intervalMs: number;
  readonly #timeoutMs: number;
  readonly #checks = new Map<string, Check>();

  constructor(deps: HealthDeps, options: HealthOptions = {}) {
    this.#deps = deps;
    this.#intervalMs = options.intervalMs ?? 5_000;
    this.#timeoutMs = options.timeoutMs ?? 2_000;
  }

  isHealthy(service: string): boolean {
    return (this.#checks.get(service)?.failures ?? 0) < FAILURES_TO_UNHEALTHY;
  }

  /** From now on asks exactly these; what is unchanged keeps its state. */
  update(services: readonly CheckedService[]): void {
    const wanted = new Map(services.map((each) => [each.name, each]));
    for (const [name, check] of this.#checks) {
      const next = wanted.get(name);
      const same = next?.target === check.service.target && next.path === check.service.path;
      if (same) wanted.delete(name);
      else this.#forget(name, check);
    }
    for (const service of wanted.values()) {
      const check: Check = { service, failures: 0, timer: undefined, cancel: undefined };
      this.#checks.set(service.name, check);
      this.#ask(check);
    }
  }

  stop(): void {
    for (const [name, check] of this.#checks) this.#forget(name, check);
  }

  #forget(name: string, check: Check): void {
    this.#checks.delete(name);
    check.timer?.cancel();
    check.cancel?.();
  }

  #ask(check: Check): void {
    const { host, path, target, preamble } = check.service;
    const { opened, accepted } = createStreamPair({
      request: { deployment: '', service: check.service.name, kind: 'http' },
      requestHead: {
        method: 'GET',
        authority: host,
        target: path,
        fields: [['user-agent', 'moat-health']],
        bodyless: true,
      },
      opener: '',
      acceptor: '',
    });
    let status = 0;
    opened.listen({
      onHead: (head) => {
        if ('status' in head) status = head.status;
      },
      onData: () => undefined,
      onEnd: () => undefined,
      onDrain: () => undefined,
      onClose: (code) => this.#onAnswer(check, code === undefined && status >= 200 && status < 400),
    });
    opened.end();
    check.timer = this.#deps.clock.after(this.#timeoutMs, () => opened.reset('SERVICE_TIMEOUT'));
    check.cancel = () => opened.reset('REQUEST_CANCELLED');
    serveHttp(this.#deps, accepted, { ...parseTarget(target), preamble }, () => undefined);
  }

  #onAnswer(check: Check, good: boolean): void {
    check.timer?.cancel();
    check.cancel = undefined;
    const { name } = check.service;
    if (this.#checks.get(name) !== check) return;
    const before = this.isHealthy(name);
    check.failures = good ? 0 : check.failures + 1;
    if (this.isHealthy(name) !== before) this.#deps.onChange(name, !before);
    check.timer = this.#deps.clock.after(this.#intervalMs, () => this.#ask(check));
  }
}
