/** One deployment as this node holds it in memory; what is here is on disk already. */
import type { DeploymentId, Hash, PeerId } from '@moat/core';
import {
  servicesOfLine,
  buildView,
  claimedMember,
  grantedServices,
  headHash,
  placesThatReach,
  whatBothAllow,
  type Contract,
  type ContractView,
  type HeadProof,
  type MemberClaim,
  type Place,
  type WitnessedClaim,
} from '@moat/contract';
import { peersBesidesGrants } from '@moat/network';
import type { Notice } from '@moat/admin-api';
import type { StoredDeployment } from '../store/deployment-store.ts';
import { ClaimBook } from './claim-book.ts';
import { Forks, type Fork } from './forks.ts';
import { Freshness, type Staleness } from './freshness.ts';

export class Deployment {
  readonly id: DeploymentId;
  readonly #self: PeerId;
  #proof: HeadProof;
  #contract: Contract;
  #acceptedAt: number;
  #head: Hash;
  readonly #book: ClaimBook;
  readonly freshness: Freshness;
  /** A view is built again for every claim and expiry; each claim's signatures are verified once. */
  readonly proven: WeakSet<WitnessedClaim> = new WeakSet();
  /** Other branches; while there is one, this one does not go on. */
  readonly forks: Forks;
  #view: ContractView;
  #builtAt = 0;
  #isOnlyKeeper = false;
  #silentKeeper: string | undefined;
  #linkable: ReadonlySet<PeerId> = new Set();
  #audience: ReadonlySet<PeerId> = new Set();
  /** Why a newer version that was signed by the owners is not in force here, e.g. `CONTRACT_TOO_NEW`. */
  refusal: Notice | undefined;

  constructor(stored: StoredDeployment, self: PeerId, now: number) {
    this.id = stored.id;
    this.#self = self;
    this.#proof = stored.proof;
    this.#contract = stored.contract;
    this.#acceptedAt = stored.acceptedAt;
    this.#head = headHash(stored.proof.newest.head);
    this.#book = new ClaimBook(stored.claims);
    this.freshness = new Freshness(stored.age);
    this.forks = new Forks(stored.forks);
    this.#view = this.rebuild(now);
  }

  get proof(): HeadProof {
    return this.#proof;
  }

  /** The version that is pinned. In a fork less is in force: `view.contract`. */
  get contract(): Contract {
    return this.#contract;
  }

  get acceptedAt(): number {
    return this.#acceptedAt;
  }

  /** Hash of the pinned head. */
  get head(): Hash {
    return this.#head;
  }

  /** Every claim on disk. */
  get claims(): readonly MemberClaim[] {
    return [...this.#book];
  }

  /** The same, to ask whether there is room for another; not to be put into. */
  get book(): ClaimBook {
    return this.#book;
  }

  /** Claims on places of the version in force; the others only tell used invites from open ones. */
  get currentClaims(): readonly MemberClaim[] {
    const { contract } = this.#view;
    return this.claims.filter(({ claim, details }) => claimedMember(contract, claim, details) !== undefined);
  }

  get view(): ContractView {
    return this.#view;
  }

  /** As of when the view was made, in milliseconds since 1970. */
  get builtAt(): number {
    return this.#builtAt;
  }

  /** The place this machine holds now. */
  get place(): Place | undefined {
    return this.#view.memberOf(this.#self);
  }

  /** `network.maxStale`; null = goes on with what it knows for ever. */
  get maxStaleMs(): number | null {
    return this.#view.contract.network.maxStale ?? null;
  }

  /** Milliseconds since a keeper last confirmed our head; 0 where this machine is the only one that could. */
  ageMs(now: number): number {
    return this.#isOnlyKeeper ? 0 : this.freshness.age(now);
  }

  staleness(now: number): Staleness {
    const { maxStaleMs } = this;
    if (maxStaleMs === null) return 'fresh';
    const age = this.ageMs(now);
    return age >= maxStaleMs ? 'stale' : age * 2 >= maxStaleMs ? 'aging' : 'fresh';
  }

  /** True for another machine that the version in force pins as a keeper, which may confirm our head. */
  isKeeper(peer: PeerId): boolean {
    const place = peer === this.#self ? undefined : this.#view.memberOf(peer);
    return place?.state === 'pinned' && place.keeper;
  }

  /** The keeper that last answered without naming this network to us; undefined once one confirmed our head. */
  get silentKeeper(): string | undefined {
    return this.#silentKeeper;
  }

  /** A peer said hello and shares no such deployment with us. */
  takeSilence(peer: PeerId): void {
    if (this.isKeeper(peer)) this.#silentKeeper = this.#view.memberOf(peer)?.name;
  }

  /** A peer holds our head. */
  takeConfirmation(peer: PeerId): void {
    if (this.isKeeper(peer)) this.#silentKeeper = undefined;
  }

  get forked(): boolean {
    return this.forks.size > 0;
  }

  /** Peers a link may stand with: a grant leads one way or the other, or it is a gateway that serves us. */
  get linkable(): ReadonlySet<PeerId> {
    return this.#linkable;
  }

  /** Peers that may hear of this deployment: members, and whoever has a witnessed claim, until the place expires. */
  get audience(): ReadonlySet<PeerId> {
    return this.#audience;
  }

  get alarms(): readonly Notice[] {
    const forks = this.forks.alarms(this.#proof);
    const frozen = [...this.#view.places.values()]
      .filter(({ state }) => state === 'frozen')
      .map(({ name }) => ({ code: 'PLACE_FROZEN', message: `two machines claim ${name}; the next version decides` }));
    return [...forks, ...frozen, ...(this.refusal === undefined ? [] : [this.refusal])];
  }

  takeVersion(proof: HeadProof, contract: Contract, acceptedAt: number, now: number): void {
    this.#proof = proof;
    this.#contract = contract;
    this.#acceptedAt = acceptedAt;
    this.#head = headHash(proof.newest.head);
    this.refusal = undefined;
    this.#silentKeeper = undefined;
    // What is taken while there are branches ends them.
    this.forks.clear();
    this.rebuild(now);
  }

  takeClaims(claims: readonly MemberClaim[], now: number): void {
    for (const claim of claims) this.#book.put(claim);
    this.rebuild(now);
  }

  /** What either branch removed is denied from now on. */
  takeFork(fork: Fork, now: number): void {
    this.forks.put(fork);
    this.rebuild(now);
  }

  /** Answers from now on as of `now`: to call when something expired. */
  rebuild(now: number): ContractView {
    this.#builtAt = now;
    const others = this.forks.list().flatMap(({ contract }) => contract ?? []);
    const inForce = others.reduce((left, other) => whatBothAllow(left, other), this.#contract);
    const branches = others.length === 0 ? [] : [this.#contract, ...others];
    this.#view = buildView(inForce, this.claims, now, this.proven, branches);
    const keepers = this.#view.keepers().filter(({ state }) => state === 'pinned');
    this.#isOnlyKeeper = keepers.length === 1 && keepers[0]?.peer === this.#self;
    this.#linkable = linkablePeers(this.#view, this.place, now);
    const claimants = this.currentClaims.filter(
      ({ details }) => this.#view.places.get(details.member)?.state !== 'expired',
    );
    this.#audience = new Set([...this.#view.peers(), ...claimants.map(({ claim }) => claim.node)]);
    return this.#view;
  }
}

function linkablePeers(view: ContractView, self: Place | undefined, now: number): ReadonlySet<PeerId> {
  const peers = new Set<PeerId>();
  if (self === undefined || view.contract.state === 'ended') return peers;
  for (const { name } of grantedServices(view, self.name, now)) {
    for (const { peer } of view.membersOn(name)) if (peer !== null) peers.add(peer);
  }
  for (const { peer } of placesThatReach(view, view.servicesOf(self.name), now)) if (peer !== null) peers.add(peer);
  if (self.wireguard !== undefined) for (const peer of peersBesidesGrants(view, self.name, now)) peers.add(peer);
  for (const [gateway] of gatewaysOf(view, self)) peers.add(gateway);
  if (self.peer !== null) peers.delete(self.peer);
  return peers;
}

/** Gateways at which something is published that `self` offers, with the addresses the contract pins. */
export function gatewaysOf(view: ContractView, self: Place): ReadonlyMap<PeerId, readonly string[]> {
  const gateways = new Map<PeerId, string[]>();
  if (view.contract.state === 'ended') return gateways;
  const offered = new Set(view.servicesOf(self.name).map(({ name }) => name));
  for (const line of view.contract.publish) {
    if (!servicesOfLine(line).some((service) => offered.has(service))) continue;
    for (const address of line.gateway.peers) {
      const peer = address.slice(address.lastIndexOf('/') + 1);
      const known = gateways.get(peer) ?? [];
      if (!known.includes(address)) known.push(address);
      gateways.set(peer, known);
    }
  }
  return gateways;
}
