/**
 * `/moat/heads/1`: how heads and witnessed claims travel. One stream is one of
 *   news     { deployment, proof, claims } in parts, unasked; no answer
 *   compare  what each side holds of one deployment; afterwards both send the other what it lacks as news
 *   pull     the contract of one head, whole or as what makes it of an earlier one, in parts; only to peers the
 *            deployment lists
 * Whoever accepts something new tells it at once to everyone entitled, except where it came from. Everything
 * is verified behind the deployment view before it is passed on; the rest gets no answer.
 */
import {
  errorCode,
  isMoatError,
  sleep,
  type Clock,
  type DeploymentId,
  type Hash,
  type Logger,
  type MessageStream,
  type PeerId,
} from '@moat/core';
import { hashClaim, headHash, type Head, type HeadProof, type MemberClaim } from '@moat/contract';
import { z } from 'zod';
import type { OverlayConnection } from './connection.ts';
import type { Control } from './control.ts';
import { Deadline, raced } from './deadline.ts';
import type { DeploymentView, HeadName, ProofOutcome, Pull } from './deployment-view.ts';
import { decodeJson, encodeJson, invalid, readParts, writeParts } from './messages.ts';
import { MAX_NEWS_BYTES, decodeNews, encodeNews, type News } from './news.ts';
import { Outbox } from './outbox.ts';
import { bestOfEach, type Probation } from './probation.ts';
import { SecondTries } from './second-tries.ts';
import { ShownHeads } from './shown-heads.ts';

export const HEADS_PROTOCOL = '/moat/heads/1';
const MAX_CONTRACT_BYTES = 1024 * 1024;
/** Bytes of a summary: the hashes of some 20,000 claims. */
const MAX_SUMMARY_BYTES = 1024 * 1024;
const EXCHANGE_MS = 20_000;
const ASKED_AT_ONCE = 4;
/** Milliseconds for which a head that several peers show is taken from the first alone. */
const FIRST_MS = 500;
/** Bytes of a contract, and claims of a summary, that count as one request. */
const BYTES_PER_REQUEST = 64 * 1024;
const CLAIMS_PER_REQUEST = 1000;

/** A claim is hashed once, however often peers compare. */
const hashes = new WeakMap<MemberClaim, Hash>();

const deploymentSchema = z.string().regex(/^[a-z2-7]{26}$/);
const hashSchema = z.string().regex(/^[A-Za-z0-9_-]{43}$/);
const requestSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('news') }),
  z.strictObject({ kind: z.literal('compare'), deployment: deploymentSchema }),
  z.strictObject({
    kind: z.literal('pull'),
    deployment: deploymentSchema,
    version: z.int().min(0),
    head: hashSchema.optional(),
    since: z.strictObject({ version: z.int().min(0), head: hashSchema }).optional(),
  }),
]);
const summarySchema = z.strictObject({
  version: z.int().min(0).nullable(),
  head: hashSchema.nullable(),
  claims: z.array(hashSchema).max(20_000),
  forks: z.array(hashSchema).max(64).optional(),
});
const foundSchema = z.strictObject({ found: z.boolean() });

interface Summary {
  readonly version: number | null;
  readonly head: Hash | null;
  readonly claims: readonly Hash[];
  /** Newest heads of other branches that are known whole. */
  readonly forks?: readonly Hash[] | undefined;
}

const NOTHING: Summary = { version: null, head: null, claims: [] };

export interface HeadsDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly control: Control;
  readonly probation: Probation;
  readonly deployments: DeploymentView;
  /** The view changed because of news. */
  readonly onChanged: () => void;
}

export class Heads {
  readonly #deps: HeadsDeps;
  readonly #outboxes = new Map<OverlayConnection, Outbox>();
  readonly #shown = new ShownHeads();
  /** Heads that are being taken: all keepers show a new one at once. Bound: the streams that bring them. */
  readonly #taking = new Map<Hash, Promise<unknown>>();

  readonly #again: SecondTries;

  constructor(deps: HeadsDeps) {
    this.#deps = deps;
    this.#again = new SecondTries({
      clock: deps.clock,
      connectionTo: (peer) => bestOfEach(this.#openTo(peer))[0],
      compare: async (connection) => {
        for (const id of deps.deployments.sharedWith(connection.peer)) await this.compare(connection, id);
      },
    });
  }

  /** Serves admitted peers, and those on probation that a deployment of ours lists: they may lack our head. */
  serve(): void {
    const { control, deployments } = this.#deps;
    control.handle(
      HEADS_PROTOCOL,
      (stream, connection) => this.#serve(stream, connection),
      (connection) => deployments.sharedWith(connection.peer).length > 0,
      8,
    );
  }

  announceHead(deployment: DeploymentId, except?: OverlayConnection): void {
    for (const connection of this.#entitled(deployment)) {
      if (connection !== except) this.#outbox(connection).addHead(deployment);
    }
  }

  #announceForks(deployment: DeploymentId, except: OverlayConnection): void {
    for (const connection of this.#entitled(deployment)) {
      if (connection === except) continue;
      for (const proof of this.#forks(deployment)) this.#outbox(connection).addFork(deployment, proof);
    }
  }

  announceClaim(claim: MemberClaim, except?: OverlayConnection): void {
    const { deployment } = claim.claim;
    for (const connection of this.#entitled(deployment)) {
      if (connection !== except) this.#outbox(connection).addClaim(deployment, claim);
    }
  }

  /** Acts on news; what is unknown, invalid or old changes nothing and nobody learns of it. Never rejects. */
  async take(connection: OverlayConnection, { deployment, proof, claims }: News): Promise<void> {
    const { deployments, onChanged, logger } = this.#deps;
    if (deployments.proof(deployment) === undefined && deployments.expects?.(deployment) !== true) return;
    let changed = false;
    try {
      if (proof !== undefined) {
        const outcome = await this.#takeProof(connection, deployment, proof);
        if (outcome === 'accepted') {
          onChanged();
          this.announceHead(deployment, connection);
        }
        if (outcome === 'forked') {
          onChanged();
          this.#announceForks(deployment, connection);
        }
      }
      const own = claims.filter(({ claim }) => claim.deployment === deployment);
      const taken = own.length === 0 ? [] : await deployments.acceptClaims(connection.peer, deployment, own);
      for (const claim of taken) this.announceClaim(claim, connection);
      changed = taken.length > 0;
    } catch (error) {
      logger.error({ deployment, peer: connection.peer, err: error }, 'news not processed');
    }
    if (changed) onChanged();
  }

  /** A head that is being taken from another peer is waited for: to pull and check it twice at once helps nobody. */
  async #takeProof(connection: OverlayConnection, deployment: DeploymentId, proof: HeadProof): Promise<ProofOutcome> {
    const { clock, deployments } = this.#deps;
    const head = headHash(proof.newest.head);
    this.#shown.put(connection.peer, deployment, head);
    const first = this.#taking.get(head);
    if (first !== undefined) {
      using patience = new Deadline(clock, FIRST_MS);
      await raced(first, patience.signal).catch(() => undefined);
    }
    const pull: Pull = async (since) => {
      try {
        return await this.#pull(connection, deployment, proof.newest.head, since);
      } catch (error) {
        // Who has no contract for us has none in a second either.
        if (!isMoatError(error, 'MESSAGE_INVALID')) void this.#again.add(connection.peer);
        throw error;
      }
    };
    const taking = deployments.acceptProof(connection.peer, proof, pull);
    if (this.#taking.has(head)) return taking;
    this.#taking.set(head, taking);
    try {
      return await taking;
    } finally {
      this.#taking.delete(head);
    }
  }

  /** Compares with {@link ASKED_AT_ONCE} peers, keepers first: those who told something once do not tell it again. */
  compareWithSome(deployment: DeploymentId): void {
    const keepers = new Set(
      this.#deps.deployments.members(deployment).flatMap(({ peer, keeper }) => (keeper ? [peer] : [])),
    );
    const entitled = this.#entitled(deployment);
    const [first, others] = [
      entitled.filter(({ peer }) => keepers.has(peer)),
      entitled.filter(({ peer }) => !keepers.has(peer)),
    ];
    for (const connection of [...first, ...others].slice(0, ASKED_AT_ONCE)) void this.compare(connection, deployment);
  }

  /** Compares one shared deployment with the peer and sends what it lacks. Never rejects. */
  async compare(connection: OverlayConnection, deployment: DeploymentId): Promise<void> {
    try {
      using deadline = new Deadline(this.#deps.clock, EXCHANGE_MS, connection.closed);
      const stream = await this.#open(connection, { kind: 'compare', deployment }, deadline.signal);
      try {
        // The peer may have let us wait for a version that removed it.
        if (!this.#isEntitled(connection, deployment)) return stream.abort(new Error('removed meanwhile'));
        const ours = this.#summary(deployment);
        await writeParts(stream, encodeJson(ours), MAX_SUMMARY_BYTES, deadline.signal);
        await stream.close();
        this.#compared(connection, deployment, await readSummary(stream, deadline.signal));
      } catch (error) {
        stream.abort(error as Error);
        throw error;
      }
    } catch (error) {
      this.#deps.logger.debug({ peer: connection.peer, deployment, code: errorCode(error) }, 'heads not compared');
      void this.#again.add(connection.peer);
    }
  }

  /** Frees what was kept for a connection. */
  forget(connection: OverlayConnection): void {
    this.#outboxes.delete(connection);
    // Whoever comes back may have been set back meanwhile.
    this.#shown.forget(connection.peer);
    if (this.#openTo(connection.peer).length === 0) this.#again.forget(connection.peer);
  }

  async #serve(stream: MessageStream, connection: OverlayConnection): Promise<void> {
    using deadline = new Deadline(this.#deps.clock, EXCHANGE_MS, connection.closed);
    const { signal } = deadline;
    await this.#pay(connection, 1, signal);
    const request = decodeJson(await stream.read(signal), requestSchema);
    switch (request.kind) {
      case 'news': {
        const news = decodeNews(await readParts(stream, MAX_NEWS_BYTES, signal));
        // answered before it is looked at, so that the answer tells nothing
        await stream.close();
        return this.take(connection, news);
      }
      case 'compare': {
        const theirs = await readSummary(stream, signal);
        const entitled = this.#isEntitled(connection, request.deployment);
        if (entitled) {
          await this.#pay(
            connection,
            this.#deps.deployments.claims(request.deployment).length / CLAIMS_PER_REQUEST,
            signal,
          );
        }
        const ours = entitled ? this.#summary(request.deployment) : NOTHING;
        await writeParts(stream, encodeJson(ours), MAX_SUMMARY_BYTES, signal);
        if (entitled) this.#compared(connection, request.deployment, theirs);
        return;
      }
      case 'pull': {
        const { deployment, version, head, since } = request;
        const { deployments } = this.#deps;
        const contract = this.#isEntitled(connection, deployment)
          ? deployments.contract(deployment, version, head)
          : undefined;
        await stream.write(encodeJson({ found: contract !== undefined }), signal);
        if (contract === undefined) return;
        // A delta, too, is paid for like the whole: it is made of that.
        await this.#pay(connection, contract.length / BYTES_PER_REQUEST, signal);
        const delta =
          head === undefined || since === undefined ? undefined : deployments.delta?.(deployment, head, since);
        await writeParts(stream, delta ?? contract, MAX_CONTRACT_BYTES, signal);
      }
    }
  }

  /** Waits until the peer may have what it asks for. */
  async #pay(connection: OverlayConnection, requests: number, signal: AbortSignal): Promise<void> {
    const waitMs = connection.requests.take(requests);
    if (waitMs > 0) await sleep(this.#deps.clock, waitMs, signal);
  }

  /** @throws `MESSAGE_INVALID` when the peer has no such contract for us, and what a stream throws. */
  #pull(
    connection: OverlayConnection,
    deployment: DeploymentId,
    head: Head,
    since: HeadName | undefined,
  ): Promise<Uint8Array> {
    return this.#deps.probation.during(connection, async () => {
      using deadline = new Deadline(this.#deps.clock, EXCHANGE_MS, connection.closed);
      const request = { kind: 'pull' as const, deployment, version: head.version, head: headHash(head), since };
      const stream = await this.#open(connection, request, deadline.signal);
      try {
        await stream.close();
        const { found } = decodeJson(await stream.read(deadline.signal), foundSchema);
        if (!found) throw invalid('a head without its contract');
        return await readParts(stream, MAX_CONTRACT_BYTES, deadline.signal);
      } catch (error) {
        stream.abort(error as Error);
        throw error;
      }
    });
  }

  async #open(
    connection: OverlayConnection,
    request: z.infer<typeof requestSchema>,
    signal: AbortSignal,
  ): Promise<MessageStream> {
    const stream = await this.#deps.control.open(connection, HEADS_PROTOCOL, signal);
    await stream.write(encodeJson(request), signal);
    return stream;
  }

  async #send(connection: OverlayConnection, news: News): Promise<void> {
    using deadline = new Deadline(this.#deps.clock, EXCHANGE_MS, connection.closed);
    const stream = await this.#open(connection, { kind: 'news' }, deadline.signal);
    await writeParts(stream, encodeNews(news), MAX_NEWS_BYTES, deadline.signal);
    await stream.close();
  }

  #summary(deployment: DeploymentId): Summary {
    const { deployments } = this.#deps;
    const proof = deployments.proof(deployment);
    const forks = this.#forks(deployment).map(({ newest }) => headHash(newest.head));
    return {
      version: proof?.newest.head.version ?? null,
      head: proof === undefined ? null : headHash(proof.newest.head),
      claims: deployments.claims(deployment).slice(0, 20_000).map(hashOf),
      ...(forks.length === 0 ? {} : { forks }),
    };
  }

  #compared(connection: OverlayConnection, deployment: DeploymentId, theirs: Summary): void {
    this.#shown.put(connection.peer, deployment, theirs.head);
    this.#sendLacking(connection, deployment, theirs);
    if (theirs.head !== null) this.#deps.deployments.headShown?.(connection.peer, deployment, theirs.head);
  }

  #sendLacking(connection: OverlayConnection, deployment: DeploymentId, theirs: Summary): void {
    const ours = this.#summary(deployment);
    const outbox = this.#outbox(connection);
    // at equal versions a different head is a fork, which both sides want to know of
    const behind = (theirs.version ?? -1) <= (ours.version ?? -1);
    if (behind && ours.head !== theirs.head) outbox.addHead(deployment);
    for (const proof of this.#forks(deployment)) {
      const hash = headHash(proof.newest.head);
      if (hash !== theirs.head && theirs.forks?.includes(hash) !== true) outbox.addFork(deployment, proof);
    }
    const known = new Set(theirs.claims);
    for (const claim of this.#deps.deployments.claims(deployment)) {
      if (!known.has(hashOf(claim))) outbox.addClaim(deployment, claim);
    }
  }

  #forks(deployment: DeploymentId): readonly HeadProof[] {
    return this.#deps.deployments.forks?.(deployment) ?? [];
  }

  #outbox(connection: OverlayConnection): Outbox {
    const known = this.#outboxes.get(connection);
    if (known !== undefined) return known;
    const outbox = new Outbox({
      proof: (deployment) => this.#deps.deployments.proof(deployment),
      isEntitled: (deployment) => this.#isEntitled(connection, deployment),
      isShown: ({ newest }) => this.#shown.isShown(connection.peer, newest.head.deployment, headHash(newest.head)),
      send: (news) => this.#send(connection, news),
      onFailure: (error) => {
        this.#deps.logger.debug({ peer: connection.peer, err: error }, 'news not delivered');
        void this.#again.add(connection.peer);
      },
    });
    if (!connection.closed.aborted) this.#outboxes.set(connection, outbox);
    return outbox;
  }

  #openTo(peer: PeerId): OverlayConnection[] {
    return this.#deps.probation.ofPeer(peer).filter(({ admitted, closed }) => admitted && !closed.aborted);
  }

  /** One connection to each peer: two carry the same news to the same machine. */
  #entitled(deployment: DeploymentId): OverlayConnection[] {
    const { probation } = this.#deps;
    return bestOfEach(
      probation.all().filter((connection) => connection.admitted && this.#isEntitled(connection, deployment)),
    );
  }

  #isEntitled(connection: OverlayConnection, deployment: DeploymentId): boolean {
    return !connection.closed.aborted && this.#deps.deployments.sharedWith(connection.peer).includes(deployment);
  }
}

function hashOf(claim: MemberClaim): Hash {
  const known = hashes.get(claim);
  if (known !== undefined) return known;
  const hash = hashClaim(claim.claim);
  hashes.set(claim, hash);
  return hash;
}

async function readSummary(stream: MessageStream, signal: AbortSignal): Promise<Summary> {
  return decodeJson(await readParts(stream, MAX_SUMMARY_BYTES, signal), summarySchema);
}
