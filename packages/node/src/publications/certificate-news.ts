/** What one gateway says of the certificates of names that we serve there. Asked when somebody looks, not more than every three seconds. */
import { MoatError, type Clock, type DeploymentId, type PeerConnection } from '@moat/core';
import type { PublicationCertificate } from '@moat/admin-api';
import type { Overlay, PublishedCertificate } from '@moat/overlay';
import { deadline } from '../deadline.ts';
import { plainReason, plainText } from '../remote-text.ts';

export interface CertificateNewsDeps {
  readonly overlay: Pick<Overlay, 'certificates'>;
  readonly clock: Clock;
}

const ANSWER_MS = 5_000;
const AGAIN_MS = 3_000;

interface News {
  readonly askedMs: number;
  asking: Promise<void>;
  /** By host. */
  byHost: ReadonlyMap<string, PublicationCertificate>;
}

/** Bound: the deployments that are shown to the gateway, and what one answer holds of each. */
export class CertificateNews {
  readonly #deps: CertificateNewsDeps;
  readonly #news = new Map<DeploymentId, News>();

  constructor(deps: CertificateNewsDeps) {
    this.#deps = deps;
  }

  /** As it was said last on this connection. */
  of(deployment: DeploymentId, host: string): PublicationCertificate | undefined {
    return this.#news.get(deployment)?.byHost.get(host);
  }

  /** Resolves when it is known, or will not be. Never rejects: an older gateway does not know the question. */
  ask(connection: PeerConnection, deployment: DeploymentId): Promise<void> {
    const { clock } = this.#deps;
    const known = this.#news.get(deployment);
    if (known !== undefined && Math.abs(clock.now() - known.askedMs) < AGAIN_MS) return known.asking;
    const news: News = {
      askedMs: clock.now(),
      byHost: known?.byHost ?? new Map<string, PublicationCertificate>(),
      asking: Promise.resolve(),
    };
    this.#news.set(deployment, news);
    news.asking = this.#ask(connection, deployment).then((byHost) => void (news.byHost = byHost));
    return news.asking;
  }

  forget(): void {
    this.#news.clear();
  }

  async #ask(
    connection: PeerConnection,
    deployment: DeploymentId,
  ): Promise<ReadonlyMap<string, PublicationCertificate>> {
    const late = new MoatError('PUBLISH_TIMEOUT', 'the gateway did not answer in time', { retryable: true });
    try {
      const signal = deadline(ANSWER_MS, late, connection.closed);
      const answer = await this.#deps.overlay.certificates(connection, deployment, signal);
      const all = answer.ok ? (answer.certificates ?? []) : [];
      return new Map(all.map((each) => [each.host, plainOf(each)]));
    } catch {
      // Whatever it was: nothing is known then, which is what is shown.
      return new Map();
    }
  }
}

function plainOf({ state, issuer, notAfter, next, problem }: PublishedCertificate): PublicationCertificate {
  const text = (given: string | null): string | null => (given === null ? null : plainText(given));
  return {
    state,
    issuer: text(issuer),
    notAfter: timeOf(notAfter),
    next: timeOf(next),
    problem: problem && plainReason(problem),
  };
}

/** Null for what is no time: it is shown, and reckoned with. */
function timeOf(given: string | null): string | null {
  const ms = given === null ? NaN : Date.parse(given);
  return Number.isNaN(ms) ? null : new Date(ms).toISOString();
}
