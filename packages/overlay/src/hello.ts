/**
 * `/moat/hello/1`: both sides name, in one message of constant size, the deployments that list the other's
 * PeerId, and nothing else. What each side names depends only on the authenticated PeerId, never on what the
 * other named, so a stranger gets the same empty list in the same time whatever it claims to know.
 * A deployment named by both admits the connection. Who named one the other did not then sends, unasked, its
 * proof and the claim by which it holds its place; only valid and newer news has any effect.
 */
import { isMoatError, sleep, type Clock, type DeploymentId, type Logger, type MessageStream } from '@moat/core';
import { z } from 'zod';
import type { OverlayConnection } from './connection.ts';
import type { Control } from './control.ts';
import { Deadline } from './deadline.ts';
import type { DeploymentView } from './deployment-view.ts';
import type { Heads } from './heads.ts';
import { decodeJson, encodeJson, invalid, readParts, writeParts } from './messages.ts';
import { MAX_NEWS_BYTES, decodeNews, encodeNews, type News } from './news.ts';
import type { Probation } from './probation.ts';

export const HELLO_PROTOCOL = '/moat/hello/1';
/** Deployments in one list; a machine that shares more with one peer meets it over the first ones. */
const MAX_NAMED = 32;
/** Every list has this length, filled up with spaces. */
const LIST_BYTES = 1024;
const HELLO_MS = 5000;
/** Bytes of news that one hello may bring; the rest is left to the comparison of heads. */
const MAX_ALL_NEWS_BYTES = 1024 * 1024;
/** Hellos that a peer may open on a connection before it is admitted. */
const MAX_STRANGER_HELLOS = 8;
/** Requests that one hello counts as: it may make us compare heads. */
const HELLO_COST = 5;
const REASON = 'deployment';

const listSchema = z.strictObject({ deployments: z.array(z.string().regex(/^[a-z2-7]{26}$/)).max(MAX_NAMED) });

export interface HelloDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly control: Control;
  readonly probation: Probation;
  readonly deployments: DeploymentView;
  readonly heads: Heads;
}

export class Hello {
  readonly #deps: HelloDeps;
  readonly #running = new Set<OverlayConnection>();
  readonly #again = new Set<OverlayConnection>();

  constructor(deps: HelloDeps) {
    this.#deps = deps;
  }

  /** Serves hello on every connection, at any time. */
  serve(): void {
    this.#deps.control.handle(
      HELLO_PROTOCOL,
      async (stream, connection) => {
        connection.hellos += 1;
        if (!connection.admitted && connection.hellos > MAX_STRANGER_HELLOS) throw invalid('too many hellos');
        const waitMs = connection.requests.take(HELLO_COST);
        if (waitMs > 0) await sleep(this.#deps.clock, waitMs, connection.closed);
        const news = await this.#exchange(stream, connection);
        connection.greeted.resolve();
        // from here on nothing the peer sees depends on what it sent
        void this.#take(connection, news);
      },
      'anyone',
      2,
    );
  }

  /** Says hello; one at a time on a connection, a wish in between runs another one after it. Never rejects. */
  async greet(connection: OverlayConnection): Promise<void> {
    if (this.#running.has(connection)) {
      this.#again.add(connection);
      return;
    }
    this.#running.add(connection);
    try {
      do {
        this.#again.delete(connection);
        await this.#greetOnce(connection);
      } while (this.#again.has(connection) && !connection.closed.aborted);
    } finally {
      this.#running.delete(connection);
      this.#again.delete(connection);
      connection.greeted.resolve();
    }
  }

  /** Applies the view as it is now: who is listed no more is closed, and who is newly listed is greeted. */
  review(connection: OverlayConnection): void {
    const ours = this.#ours(connection);
    this.#settle(connection, ours);
    if (!connection.closed.aborted && !sameList(ours, connection.told)) void this.greet(connection);
  }

  /** Deployments that both sides named. */
  shared(connection: OverlayConnection): DeploymentId[] {
    return this.#ours(connection).filter((deployment) => connection.named.has(deployment));
  }

  async #greetOnce(connection: OverlayConnection): Promise<void> {
    try {
      const news = await this.#deps.probation.during(connection, async () => {
        using deadline = new Deadline(this.#deps.clock, HELLO_MS, connection.closed);
        const stream = await this.#deps.control.open(connection, HELLO_PROTOCOL, deadline.signal);
        try {
          return await this.#exchange(stream, connection, deadline.signal);
        } catch (error) {
          stream.abort(error as Error);
          throw error;
        }
      });
      connection.greeted.resolve();
      await this.#take(connection, news);
      // the side that said hello compares; it is one exchange for both
      for (const deployment of this.shared(connection)) await this.#deps.heads.compare(connection, deployment);
    } catch (error) {
      this.#deps.logger.debug({ peer: connection.peer, connection: connection.id, err: error }, 'hello failed');
    }
  }

  async #exchange(stream: MessageStream, connection: OverlayConnection, signal?: AbortSignal): Promise<News[]> {
    using deadline = new Deadline(this.#deps.clock, HELLO_MS, signal ?? connection.closed);
    const ours = this.#ours(connection);
    connection.told = ours;
    await stream.write(encodeList(ours), deadline.signal);
    connection.named = new Set(decodeList(await stream.read(deadline.signal)));
    // Whoever sent its list late is judged by the versions that came meanwhile.
    this.#settle(connection, this.#ours(connection));
    const unshared = ours.filter((deployment) => !connection.named.has(deployment));
    for (const deployment of unshared) this.#deps.deployments.notNamed?.(connection.peer, deployment);
    const [, news] = await Promise.all([
      this.#sendNews(stream, connection, unshared, deadline.signal),
      readAllNews(stream, deadline.signal),
    ]);
    return news;
  }

  async #sendNews(
    stream: MessageStream,
    connection: OverlayConnection,
    deployments: readonly DeploymentId[],
    signal: AbortSignal,
  ): Promise<void> {
    const view = this.#deps.deployments;
    for (const deployment of deployments) {
      if (!view.sharedWith(connection.peer).includes(deployment)) continue;
      const proof = view.proof(deployment);
      const claim = view.ownClaim(deployment);
      if (proof === undefined) continue;
      await writeParts(
        stream,
        encodeNews({ deployment, proof, claims: claim === undefined ? [] : [claim] }),
        MAX_NEWS_BYTES,
        signal,
      );
    }
    await stream.close();
  }

  async #take(connection: OverlayConnection, news: readonly News[]): Promise<void> {
    for (const item of news) await this.#deps.heads.take(connection, item);
  }

  #ours(connection: OverlayConnection): readonly DeploymentId[] {
    return this.#deps.deployments.sharedWith(connection.peer).slice(0, MAX_NAMED);
  }

  #settle(connection: OverlayConnection, ours: readonly DeploymentId[]): void {
    if (ours.some((deployment) => connection.named.has(deployment))) this.#deps.probation.admit(connection, REASON);
    else this.#deps.probation.withdraw(connection, REASON);
  }
}

function encodeList(deployments: readonly DeploymentId[]): Uint8Array {
  const list = new Uint8Array(LIST_BYTES).fill(0x20);
  list.set(encodeJson({ deployments }));
  return list;
}

function decodeList(bytes: Uint8Array): readonly DeploymentId[] {
  if (bytes.length !== LIST_BYTES) throw invalid('a hello has a constant length');
  return decodeJson(bytes, listSchema).deployments;
}

/** News until the peer ends its direction; what is cut short or too much is left out. */
async function readAllNews(stream: MessageStream, signal: AbortSignal): Promise<News[]> {
  const all: News[] = [];
  let left = MAX_ALL_NEWS_BYTES;
  try {
    while (all.length < MAX_NAMED) {
      const bytes = await readParts(stream, Math.min(MAX_NEWS_BYTES, left), signal);
      left -= bytes.length;
      // a stranger brings the claim it holds, not work for thousands of signatures
      all.push(decodeNews(bytes, 1));
    }
  } catch (error) {
    if (!isMoatError(error, 'STREAM_ENDED')) throw error;
  }
  return all;
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((item, i) => item === b[i]);
}
