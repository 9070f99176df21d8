/**
 * One gateway we publish at: keeps a connection to it, shows it each deployment's bundle on every connection and
 * after every version, and keeps a link up for it to reach our services by.
 */
import {
  MoatError,
  errorCode,
  isMoatError,
  type Clock,
  type DeploymentId,
  type Links,
  type Logger,
  type PeerConnection,
  type PeerId,
  type Timer,
} from '@moat/core';
import type { PublicationCertificate } from '@moat/admin-api';
import type { PublicationBundle } from '@moat/contract';
import type { Overlay, PublishAnswer } from '@moat/overlay';
import { deadline } from '../deadline.ts';
import { CertificateNews } from './certificate-news.ts';
import { plainAnswer } from '../remote-text.ts';

const ANSWER_MS = 15_000;
const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 60_000;
/** After this long without a connection a publication is called unreachable. */
const UNREACHABLE_AFTER_MS = 10_000;

export interface GatewaySessionDeps {
  readonly overlay: Pick<Overlay, 'keep' | 'publish' | 'certificates'>;
  readonly links: Pick<Links, 'connect' | 'get'>;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The bundle to show now; without publications it withdraws what was shown before. */
  readonly bundle: (deployment: DeploymentId) => PublicationBundle | undefined;
  /** Called before a bundle leaves. @throws `DISK_FULL`: then it is shown later */
  readonly onShowing: (deployment: DeploymentId) => void;
  readonly onAnswer: (deployment: DeploymentId, version: number, answer: PublishAnswer) => void;
  /** The connection or the link came or went. */
  readonly onState: () => void;
}

/** What one deployment was told at this gateway. */
interface Shown {
  /** Where its contract says the gateway is. */
  addresses: readonly string[];
  version: number | undefined;
  answer: PublishAnswer | undefined;
  /** The gateway said so itself; otherwise the answer only tells that none came. */
  isHeard: boolean;
  /** Must be shown again, on this connection or the next. */
  due: boolean;
}

export class GatewaySession {
  readonly peer: PeerId;
  readonly #deps: GatewaySessionDeps;
  readonly #shown = new Map<DeploymentId, Shown>();
  readonly #stopped = new AbortController();
  #addresses: readonly string[] = [];
  #release: (() => void) | undefined;
  #connection: PeerConnection | undefined;
  #connectionGoneAt: number;
  #running = false;
  #linking = false;
  #retry: Timer | undefined;
  #retryMs = RETRY_MIN_MS;
  #linkRetry: Timer | undefined;
  #linkRetryMs = RETRY_MIN_MS;
  readonly #certificates: CertificateNews;

  constructor(deps: GatewaySessionDeps, peer: PeerId) {
    this.#deps = deps;
    this.#certificates = new CertificateNews(deps);
    this.peer = peer;
    this.#connectionGoneAt = deps.clock.now();
  }

  get deployments(): readonly DeploymentId[] {
    return [...this.#shown.keys()];
  }

  /** The answer to the newest bundle of a deployment: given on this connection, or a refusal that still stands. */
  answerTo(deployment: DeploymentId): { readonly version: number; readonly answer: PublishAnswer } | undefined {
    const shown = this.#shown.get(deployment);
    if (shown?.answer === undefined || shown.version === undefined) return undefined;
    return { version: shown.version, answer: shown.answer };
  }

  /** As the gateway said last. */
  certificateOf(deployment: DeploymentId, host: string): PublicationCertificate | undefined {
    return this.#certificates.of(deployment, host);
  }

  /** Asks the gateway of the certificates of all that it serves for us. Never rejects. */
  async askCertificates(): Promise<void> {
    const connection = this.#connection;
    if (connection === undefined) return;
    const served = [...this.#shown].filter(([, { answer }]) => answer?.ok === true && answer.names.length > 0);
    await Promise.all(served.map(([deployment]) => this.#certificates.ask(connection, deployment)));
  }

  get state(): 'connecting' | 'unreachable' | 'connected' | 'linked' {
    if (this.#connection !== undefined) return this.#deps.links.get(this.peer) === undefined ? 'connected' : 'linked';
    const goneMs = this.#deps.clock.now() - this.#connectionGoneAt;
    return goneMs > UNREACHABLE_AFTER_MS ? 'unreachable' : 'connecting';
  }

  /** Shows a deployment's bundle, now if connected, and on each connection from now on. */
  show(deployment: DeploymentId, addresses: readonly string[]): void {
    const fresh = { addresses, version: undefined, answer: undefined, isHeard: false, due: true };
    const shown = this.#shown.get(deployment) ?? fresh;
    shown.addresses = addresses;
    shown.due = true;
    this.#shown.set(deployment, shown);
    this.#dial();
    this.#retryMs = RETRY_MIN_MS;
    this.#run();
  }

  /** Stops showing a deployment; true when nothing is left to show here. */
  drop(deployment: DeploymentId): boolean {
    this.#shown.delete(deployment);
    return this.#shown.size === 0;
  }

  stop(): void {
    this.#stopped.abort(new MoatError('AGENT_STOPPING', 'the publication ended'));
    this.#retry?.cancel();
    this.#linkRetry?.cancel();
    this.#release?.();
  }

  #dial(): void {
    const addresses = [...new Set([...this.#shown.values()].flatMap((shown) => shown.addresses))];
    if (this.#release !== undefined && addresses.join() === this.#addresses.join()) return;
    this.#addresses = addresses;
    this.#release?.();
    this.#release = this.#deps.overlay.keep({
      peer: this.peer,
      addresses,
      onConnection: (connection) => this.#connected(connection),
    });
  }

  #connected(connection: PeerConnection): void {
    if (this.#stopped.signal.aborted) return;
    this.#connection = connection;
    // Who was refused has no reason to stay connected, so a new connection is no news.
    const isRefused = [...this.#shown.values()].some(({ answer }) => answer?.ok === false);
    if (!isRefused) this.#retryMs = RETRY_MIN_MS;
    for (const shown of this.#shown.values()) {
      shown.due = true;
      forgetWhatEnded(shown);
    }
    connection.closed.addEventListener('abort', () => {
      if (this.#connection !== connection) return;
      this.#connection = undefined;
      this.#certificates.forget();
      this.#connectionGoneAt = this.#deps.clock.now();
      for (const shown of this.#shown.values()) forgetWhatEnded(shown);
      this.#deps.onState();
    });
    this.#deps.onState();
    this.#run();
  }

  /** One bundle at a time; what fails is tried again with growing delay. */
  #run(): void {
    if (this.#running || this.#connection === undefined || this.#stopped.signal.aborted) return;
    this.#running = true;
    void this.#showDue().finally(() => {
      this.#running = false;
      if (this.#connection !== undefined && [...this.#shown.values()].some(({ due }) => due)) this.#runLater();
    });
  }

  #runLater(): void {
    this.#retry?.cancel();
    this.#retry = this.#deps.clock.after(this.#retryMs, () => this.#run());
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX_MS);
  }

  async #showDue(): Promise<void> {
    for (const [deployment, shown] of this.#shown) {
      const connection = this.#connection;
      if (connection === undefined || this.#stopped.signal.aborted) return;
      if (!shown.due) continue;
      // Cleared before the wait: a version that comes meanwhile sets it again.
      shown.due = false;
      try {
        await this.#showOne(deployment, shown, connection);
      } catch (error) {
        shown.due = true;
        const fields = { component: 'node.publisher', peer: this.peer, deployment, code: errorCode(error), err: error };
        this.#deps.logger.error(fields, 'bundle not shown');
      }
    }
  }

  async #showOne(deployment: DeploymentId, shown: Shown, connection: PeerConnection): Promise<void> {
    const bundle = this.#deps.bundle(deployment);
    if (bundle === undefined) return;
    this.#deps.onShowing(deployment);
    const { answer, isHeard } = await this.#show(connection, bundle);
    if (this.#stopped.signal.aborted || connection.closed.aborted) return;
    const { version } = bundle.proof.newest.head;
    shown.version = version;
    shown.answer = answer;
    // A gateway that goes down says nothing of what it will say when it is back.
    shown.isHeard = isHeard && (answer.ok || answer.code !== 'GATEWAY_STOPPING');
    if (!answer.ok || answer.refused.length > 0) shown.due = true;
    this.#deps.onAnswer(deployment, version, answer);
    if (answer.ok && answer.names.length > 0) this.#keepLink();
  }

  async #show(
    connection: PeerConnection,
    bundle: PublicationBundle,
  ): Promise<{ answer: PublishAnswer; isHeard: boolean }> {
    const late = new MoatError('PUBLISH_TIMEOUT', 'the gateway did not answer in time', { retryable: true });
    const signal = deadline(ANSWER_MS, late, connection.closed, this.#stopped.signal);
    try {
      return { answer: plainAnswer(await this.#deps.overlay.publish(connection, bundle, signal)), isHeard: true };
    } catch (error) {
      const code = isMoatError(error) ? error.code : 'PUBLISH_TIMEOUT';
      this.#deps.logger.debug(
        { component: 'node.publisher', peer: this.peer, code, err: error },
        'bundle not answered',
      );
      const message = isMoatError(error) ? error.message : 'the gateway did not answer in time';
      return { answer: { ok: false, code, message }, isHeard: false };
    }
  }

  /** A gateway never dials: the link to it is ours to keep. */
  #keepLink(): void {
    if (this.#linking || this.#stopped.signal.aborted) return;
    this.#linking = true;
    this.#linkRetry?.cancel();
    const late = new MoatError('PUBLISH_TIMEOUT', 'no link to the gateway in time', { retryable: true });
    const signal = deadline(ANSWER_MS, late, this.#stopped.signal);
    this.#deps.links.connect(this.peer, signal).then(
      (link) => {
        this.#linking = false;
        this.#linkRetryMs = RETRY_MIN_MS;
        this.#deps.onState();
        const again = (): void => {
          this.#deps.onState();
          this.#askAgain();
          this.#linkLater();
        };
        // It may go on for what runs: the answer to what we show says whether the gateway goes down.
        const { leaving = link.closed } = link;
        if (leaving.aborted) again();
        else leaving.addEventListener('abort', again, { once: true });
      },
      (error: unknown) => {
        this.#linking = false;
        const fields = { component: 'node.publisher', peer: this.peer, code: errorCode(error), err: error };
        if (!this.#stopped.signal.aborted) this.#deps.logger.debug(fields, 'no link to the gateway');
        this.#linkLater();
      },
    );
  }

  /** The gateway may have ended the link because it serves us no more: its answer to what we show says so. */
  #askAgain(): void {
    for (const shown of this.#shown.values()) shown.due = true;
    this.#run();
  }

  #linkLater(): void {
    if (this.#stopped.signal.aborted || this.#connection === undefined) return;
    const live = [...this.#shown.values()].some(({ answer }) => answer?.ok === true && answer.names.length > 0);
    if (!live) return;
    this.#linkRetry?.cancel();
    this.#linkRetry = this.#deps.clock.after(this.#linkRetryMs, () => this.#keepLink());
    this.#linkRetryMs = Math.min(this.#linkRetryMs * 2, RETRY_MAX_MS);
  }
}

/** Names end with the connection, and so does its silence; what was refused is refused until the gateway says otherwise. */
function forgetWhatEnded(shown: Shown): void {
  if (shown.answer?.ok === true || !shown.isHeard) shown.answer = undefined;
}
