import {
  MoatError,
  type ByteChannel,
  type DeploymentId,
  type HandlerOptions,
  type MessageStream,
  type Observation,
  type PeerConnection,
  type PeerId,
} from '@moat/core';
import type { MemberClaim, PublicationBundle, SignedOwnerProof } from '@moat/contract';
import { toLibp2pPrivateKey } from '@moat/identity';
import { AddressWatch, machineAddresses } from './address-watch.ts';
import { Anchor, DEFAULT_ANCHOR_LIMITS } from './anchor.ts';
import { Callbacks } from './callbacks.ts';
import { directoryCalls, keeperCalls } from './calls.ts';
import { Caretaker } from './caretaker.ts';
import type { OverlayConnection } from './connection.ts';
import { Control } from './control.ts';
import type { JoinAnswer, JoinRequest } from './deployment-view.ts';
import { Dialer, circuitAddress } from './dialer.ts';
import { Directory } from './directory.ts';
import { goalsOf } from './goals.ts';
import { Heads } from './heads.ts';
import { Hello } from './hello.ts';
import { IDENTIFY_PROTOCOL, IDENTIFY_PUSH_PROTOCOL, PING_PROTOCOL, createHost, type Host } from './host.ts';
import { Join, type OwnerAnswer } from './join.ts';
import { Kept } from './kept.ts';
import { askKeepers } from './keepers.ts';
import { Keepalive } from './keepalive.ts';
import { DEFAULT_LIMITS } from './limits.ts';
import { Neighbours } from './neighbours.ts';
import { observe } from './observe.ts';
import type {
  DirectoryCalls,
  KeeperCalls,
  KeptPeer,
  Overlay,
  OverlayDeps,
  OverlayLimits,
  OverlayOptions,
  Relaying,
} from './overlay.ts';
import { Owners } from './owners.ts';
import { noOwners } from './owners-view.ts';
import { Probation } from './probation.ts';
import { Proposals } from './proposals.ts';
import { Publish, type PublishAnswer, type Redemption } from './publish.ts';
import { Receipts } from './receipts.ts';
import { STOP_PROTOCOL } from './relay-wire.ts';
import { reachOf, type Reach } from './reach.ts';
import { Reservations } from './reservations.ts';
import { Supervisor } from './supervisor.ts';

/** Makes the overlay of one machine; nothing is opened before `start`. */
export function createOverlay(deps: OverlayDeps, options: OverlayOptions): Overlay {
  return new Libp2pOverlay(deps, options);
}

class Libp2pOverlay implements Overlay {
  readonly self: PeerId;
  readonly #deps: OverlayDeps;
  readonly #options: OverlayOptions;
  readonly #limits: OverlayLimits;
  readonly #probation: Probation;
  readonly #control: Control;
  readonly #heads: Heads;
  readonly #hello: Hello;
  readonly #join: Join;
  readonly #owners: Owners;
  readonly #proposals: Proposals;
  readonly #publish: Publish;
  readonly #directory: Directory;
  readonly #dialer: Dialer;
  readonly #reservations: Reservations;
  readonly #supervisor: Supervisor;
  readonly #keepalive: Keepalive;
  readonly #anchor: Anchor | undefined;
  readonly #caretaker: Caretaker;
  readonly #neighbours = new Neighbours();
  readonly #isInside: (host: string) => boolean;
  readonly keepers: KeeperCalls;
  readonly receipts: Receipts;
  readonly directory: DirectoryCalls;
  readonly #callbacks = new Callbacks();
  readonly #kept: Kept;
  #host: Host | undefined;
  #running: AsyncDisposableStack | undefined;

  constructor(deps: OverlayDeps, options: OverlayOptions) {
    this.self = deps.key.peerId;
    this.#deps = deps;
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    const { addressBook, clock, deployments, logger } = deps;
    const probation = new Probation(
      { logger, clock, onClosed: (connection) => this.#onClosed(connection) },
      { probationMs: this.#limits.probationMs, maxStrangers: Math.ceil(this.#limits.connections / 4) },
    );
    const control = new Control({
      logger,
      clock,
      probation,
      onSilence: (connection) => void this.#keepalive.check(connection),
    });
    const base = { logger, clock, control, probation, deployments };
    const heads = new Heads({ ...base, onChanged: () => this.viewChanged() });
    const neighbours = this.#neighbours;
    this.#isInside = deps.isInside ?? ((): boolean => false);
    this.#probation = probation;
    this.#control = control;
    this.#heads = heads;
    this.#hello = new Hello({ ...base, heads });
    const { owners = noOwners } = deps;
    this.#owners = new Owners({ logger, probation, owners });
    const proving = { ...base, self: this.self, owners, proved: this.#owners };
    this.#join = new Join({ ...proving, onWitnessed: (claim) => this.#onWitnessed(claim) });
    this.#proposals = new Proposals(proving);
    this.receipts = new Receipts(proving);
    this.#publish = new Publish(base);
    this.#directory = new Directory(base);
    const recordOf = (connection: PeerConnection): OverlayConnection => this.#record(connection);
    this.keepers = keeperCalls(this.#proposals, recordOf);
    this.directory = directoryCalls(this.#directory, recordOf);
    this.#dialer = new Dialer(
      {
        ...base,
        addressBook,
        self: this.self,
        neighbours,
        isInside: this.#isInside,
        dial: (address, signal) => this.#started().dial(address, signal),
        onSilence: (anchor) => void this.#keepalive.check(anchor),
      },
      this.#limits,
    );
    this.#kept = new Kept(
      { clock, dialer: this.#dialer, onChanged: () => this.#setGoals() },
      this.#limits.dialMs + this.#limits.probationMs,
    );
    const supervisor = new Supervisor(
      { logger, clock },
      { minMs: this.#limits.redialMinMs, maxMs: this.#limits.redialMaxMs },
    );
    this.#supervisor = supervisor;
    this.#reservations = new Reservations({
      ...base,
      dialer: this.#dialer,
      onHeld: (connection) => this.#keepalive.watch(connection),
      onLost: () => supervisor.wake(),
    });
    this.#keepalive = new Keepalive(
      {
        logger,
        clock,
        probation,
        hasPlace: (connection) => this.#reservations.isFrom(connection),
        onAlive: (connection) => this.#caretaker.onAlive(connection),
      },
      this.#limits,
    );
    const anchor = options.anchor ?? false;
    if (anchor !== false)
      this.#anchor = new Anchor(base, { ...DEFAULT_ANCHOR_LIMITS, ...(anchor === true ? {} : anchor) });
    this.#caretaker = new Caretaker(
      {
        ...base,
        addressBook,
        self: this.self,
        neighbours,
        heads,
        callbacks: this.#callbacks,
        supervisor,
        hello: this.#hello,
        dialer: this.#dialer,
        reservations: this.#reservations,
        keepalive: this.#keepalive,
        anchor: this.#anchor,
        isInside: this.#isInside,
        libp2p: () => this.#host?.libp2p,
      },
      this.#limits,
    );
    this.#serve();
  }

  async start({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    signal.throwIfAborted();
    if (this.#running !== undefined) return;
    await using opening = new AsyncDisposableStack();
    const host = await createHost(
      {
        logger: this.#deps.logger,
        clock: this.#deps.clock,
        privateKey: await toLibp2pPrivateKey(this.#deps.key),
        prepare: (libp2p) => this.#control.attach(libp2p),
        gate: (protocol, raw) => this.#control.gate(protocol, raw),
        onConnection: (raw) => this.#caretaker.onConnection(raw),
        onIdentified: (identified) => this.#caretaker.onIdentified(identified),
        isInside: this.#isInside,
        onNeighbour: (peer, addresses) => this.#caretaker.onNeighbour(peer, addresses),
      },
      {
        listen: this.#options.listen,
        announce: this.#options.announce ?? [],
        mdns: this.#options.mdns,
        limits: this.#limits,
      },
    );
    this.#host = host;
    opening.defer(async () => {
      this.#host = undefined;
      for (const connection of this.#probation.all()) this.#probation.close(connection, 'the overlay stops');
      await host.libp2p.stop();
    });
    opening.defer(() => this.#reservations.stop());
    opening.defer(() => this.#anchor?.stop());
    await this.#anchor?.start(this.#options.listen, host.listening());
    this.#supervisor.start();
    opening.defer(() => this.#supervisor.stop());
    const watch = new AddressWatch({
      clock: this.#deps.clock,
      addresses: () => host.listening(),
      hosts: () => machineAddresses(this.#isInside),
      onChange: (isElsewhere) => {
        host.tellAddresses();
        this.#caretaker.onMoved(isElsewhere);
      },
    });
    watch.start();
    opening.defer(() => watch.stop());
    signal.throwIfAborted();
    this.#running = opening.move();
    this.#setGoals();
    this.#deps.logger.info({ peer: this.self, addresses: this.addresses() }, 'overlay started');
  }

  async stop(): Promise<void> {
    const running = this.#running;
    this.#running = undefined;
    await running?.disposeAsync();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  addresses(): readonly string[] {
    const direct = this.#host?.addresses() ?? [];
    const relayed = this.#reservations.held().map(({ address }) => circuitAddress(address, this.self));
    return [...direct.map((address) => `${address}/p2p/${this.self}`), ...relayed];
  }

  reservations(): readonly PeerId[] {
    return this.#reservations.held().map(({ peer }) => peer);
  }

  shared(connection: PeerConnection): readonly DeploymentId[] {
    const record = this.#probation.get(connection.id);
    return record === undefined ? [] : this.#hello.shared(record);
  }

  connections(peer?: PeerId): readonly PeerConnection[] {
    return this.#dialer.connections(peer);
  }

  async connect(peer: PeerId, signal: AbortSignal): Promise<PeerConnection> {
    return this.#dialer.connect(peer, signal);
  }

  async dial(addresses: readonly string[], signal: AbortSignal): Promise<PeerConnection> {
    return this.#dialer.dial(addresses, signal);
  }

  improve(peer: PeerId): void {
    void this.#dialer.improve(peer);
  }

  open(connection: PeerConnection, protocol: string, signal: AbortSignal): Promise<MessageStream> {
    return this.#control.open(connection, protocol, signal);
  }

  handle(protocol: string, handler: (stream: MessageStream) => Promise<void>, options: HandlerOptions): void {
    this.#control.handle(protocol, handler, options.audience, options.maxStreams);
  }

  openBytes(connection: PeerConnection, protocol: string, signal: AbortSignal): Promise<ByteChannel> {
    return this.#control.openBytes(connection, protocol, signal);
  }

  handleBytes(
    protocol: string,
    handler: (channel: ByteChannel, connection: PeerConnection) => void,
    options: HandlerOptions,
  ): void {
    this.#control.handleBytes(protocol, handler, options);
  }

  onAdmitted(listener: (connection: PeerConnection) => void): () => void {
    return this.#probation.onAdmitted(listener);
  }

  keep(target: KeptPeer): () => void {
    return this.#kept.keep(target);
  }

  relaying(): Relaying | undefined {
    return this.#anchor?.relaying;
  }

  reach(peer: PeerId): Reach {
    return reachOf({ dialer: this.#dialer, addressBook: this.#deps.addressBook, neighbours: this.#neighbours }, peer);
  }

  admit(connection: PeerConnection, reason: string): void {
    const record = this.#probation.get(connection.id);
    if (record !== undefined) this.#probation.admit(record, reason);
  }

  withdraw(connection: PeerConnection, reason: string): void {
    const record = this.#probation.get(connection.id);
    if (record !== undefined) this.#probation.withdraw(record, reason);
  }

  close(connection: PeerConnection, why: string): void {
    const record = this.#probation.get(connection.id);
    if (record !== undefined) this.#probation.close(record, why);
  }

  async greet(connection: PeerConnection): Promise<void> {
    const record = this.#probation.get(connection.id);
    if (record !== undefined) await this.#hello.greet(record);
  }

  leaveAsAnchor(): void {
    this.#anchor?.leave();
  }

  viewChanged(): void {
    this.#owners.review();
    for (const connection of this.#probation.all()) this.#hello.review(connection);
    this.#setGoals();
  }

  compare(deployment: DeploymentId): void {
    this.#heads.compareWithSome(deployment);
  }

  announceHead(deployment: DeploymentId): void {
    this.#heads.announceHead(deployment);
  }

  announceClaim(claim: MemberClaim): void {
    this.#heads.announceClaim(claim);
  }

  async showOwner(connection: PeerConnection, signed: SignedOwnerProof, signal: AbortSignal): Promise<OwnerAnswer> {
    return this.#join.requestOwner(this.#record(connection), signed, signal);
  }

  requestJoin(keepers: readonly string[], request: JoinRequest, signal: AbortSignal): Promise<JoinAnswer> {
    return askKeepers({ ...this.#deps, dialer: this.#dialer, join: this.#join }, keepers, request, signal);
  }

  async publish(connection: PeerConnection, bundle: PublicationBundle, signal: AbortSignal): Promise<PublishAnswer> {
    const record = this.#record(connection);
    return this.#publish.send(record, bundle, signal);
  }

  async redeem(connection: PeerConnection, redemption: Redemption, signal: AbortSignal): Promise<PublishAnswer> {
    const record = this.#record(connection);
    return this.#publish.redeem(record, redemption, signal);
  }

  async observe(connection: PeerConnection, key: string, signal: AbortSignal): Promise<Observation> {
    const deps = { clock: this.#deps.clock, control: this.#control, probation: this.#probation };
    return observe(deps, this.#record(connection), key, signal);
  }

  certificates(connection: PeerConnection, deployment: DeploymentId, signal: AbortSignal): Promise<PublishAnswer> {
    return this.#publish.certificates(this.#record(connection), deployment, signal);
  }

  servePublish(...[publish, redeem, certificates]: Parameters<Overlay['servePublish']>): void {
    this.#publish.serve({ publish, redeem, certificates });
  }

  /** Every protocol of the overlay itself, with who may open it. */
  #serve(): void {
    this.#hello.serve();
    this.#heads.serve();
    this.#join.serve();
    this.#proposals.serve();
    this.receipts.serve();
    if (this.#deps.directory !== undefined) this.#directory.serve(this.#deps.directory);
    this.#anchor?.serve();
    // A member that read our hello before we read its own asks at once, and only once.
    const isListed = ({ peer }: OverlayConnection): boolean => this.#deps.deployments.sharedWith(peer).length > 0;
    this.#control.setRule(IDENTIFY_PROTOCOL, isListed);
    this.#control.setRule(IDENTIFY_PUSH_PROTOCOL, 'admitted');
    this.#control.setRule(PING_PROTOCOL, 'standing');
    this.#control.setRule(STOP_PROTOCOL, (connection) => this.#reservations.isFrom(connection));
    this.#probation.onAdmitted((connection) => {
      void this.#caretaker.onAdmitted(connection as OverlayConnection);
      this.receipts.greet(connection as OverlayConnection);
    });
  }

  #record(connection: PeerConnection): OverlayConnection {
    const record = this.#probation.get(connection.id);
    if (record === undefined) throw new MoatError('PEER_UNREACHABLE', 'the connection is gone', { retryable: true });
    return record;
  }

  #onClosed(connection: OverlayConnection): void {
    this.#owners.forget(connection);
    this.receipts.forget(connection);
    this.#caretaker.onClosed(connection);
  }

  #onWitnessed(claim: MemberClaim): void {
    this.#heads.announceClaim(claim);
    this.viewChanged();
  }

  #setGoals(): void {
    if (this.#running === undefined) return;
    const { goals, anchors } = goalsOf({
      self: this.self,
      deployments: this.#deps.deployments,
      dialer: this.#dialer,
      reservations: this.#reservations,
      kept: this.#kept.goals(),
      callbacks: this.#callbacks,
    });
    this.#reservations.keepOnly(anchors);
    this.#supervisor.setGoals(goals);
  }

  #started(): Host {
    if (this.#host === undefined)
      throw new MoatError('OVERLAY_STOPPED', 'the overlay is not running', { retryable: true });
    return this.#host;
  }
}
