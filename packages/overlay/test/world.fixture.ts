/** Machines on loopback with real keys and contracts: a small agent behind each overlay, enough to test it. */
import { randomBytes } from 'node:crypto';
import {
  silentLogger,
  systemClock,
  toBase64url,
  type Clock,
  type DeploymentId,
  type Hash,
  type Logger,
  type PeerId,
} from '@moat/core';
import {
  buildView,
  canonicalBytes,
  claimedMember,
  compareHeads,
  contractMatchesHead,
  createClaim,
  createGenesis,
  createInvite,
  deploymentIdOf,
  extendProof,
  hashClaim,
  headHash,
  headOf,
  ownerSetOf,
  parseContract,
  signHead,
  verifyClaim,
  verifyProof,
  witnessClaim,
  type Contract,
  type Genesis,
  type HeadProof,
  type InviteKey,
  type Member,
  type MemberClaim,
  type SignedClaim,
  type ClaimDetails,
} from '@moat/contract';
import { createNodeKey, type NodeKey } from '@moat/identity';
import {
  createMemoryAddressBook,
  createOverlay,
  type AddressBook,
  type DeploymentPeer,
  type DeploymentView,
  type JoinAnswer,
  type JoinRequest,
  type Overlay,
  type OverlayOptions,
  type OwnersView,
  type ProofOutcome,
  type Pull,
} from '@moat/overlay';

export const DEADLINE_MS = 15_000;

/** A signal for one step of a test. */
export function soon(ms: number = DEADLINE_MS): AbortSignal {
  return AbortSignal.timeout(ms);
}

export interface Version {
  readonly contract: Contract;
  readonly bytes: Uint8Array;
  readonly proof: HeadProof;
}

/** One owner and the versions it signs. */
export class Deployment {
  readonly id: DeploymentId;
  readonly genesis: Genesis;
  readonly owner: InviteKey = createInvite(randomBytes(32));
  newest: Version | undefined;

  constructor() {
    this.genesis = createGenesis(
      ownerSetOf({ threshold: 1, keys: [{ name: 'ana', key: this.owner.key, weight: 1 }] }),
      randomBytes(16),
    );
    this.id = deploymentIdOf(this.genesis);
  }

  /** Signs the next version; members by name, keepers end in `!`. */
  version(members: Readonly<Record<string, PeerId | InviteKey>>, anchors: readonly string[] = []): Version {
    const before = this.newest;
    const contract: Contract = {
      type: 'moat/contract/1',
      deployment: this.id,
      name: 'shop',
      version: before === undefined ? 0 : before.contract.version + 1,
      owners: { threshold: 1, keys: [{ name: 'ana', key: this.owner.key, weight: 1 }] },
      anchors,
      network: { ipv4: '10.77.0.0/16', plane: 'auto' },
      members: Object.entries(members).map(([name, who], i) => memberOf(name, who, i)),
      services: [],
      access: [],
      publish: [],
      state: 'active',
    };
    const head = headOf(contract, before === undefined ? null : headHash(before.proof.newest.head));
    const signed = { head, signatures: [signHead(head, this.owner.signer)] };
    this.newest = {
      contract,
      bytes: canonicalBytes(contract),
      proof: extendProof(before?.proof ?? null, this.genesis, signed, contract.owners),
    };
    return this.newest;
  }
}

function memberOf(name: string, who: PeerId | InviteKey, i: number): Member {
  return {
    name: name.replace('!', ''),
    ipv4: `10.77.0.${i + 2}`,
    tags: [],
    ...(name.endsWith('!') ? { keeper: true as const } : {}),
    ...(typeof who === 'string' ? { node: who } : { invite: { key: who.key, expires: '2099-01-01T00:00:00Z' } }),
  };
}

/** What an agent keeps of its deployments; everything is verified as an agent would. */
export class TestView implements DeploymentView {
  readonly held: Map<DeploymentId, Version> = new Map();
  readonly known: Map<DeploymentId, MemberClaim[]> = new Map();
  /** Branches beside what is held. */
  readonly branches: Map<DeploymentId, Version[]> = new Map();
  keepsForks = false;
  /** What was accepted and refused, in order. */
  readonly log: string[] = [];
  onChange: () => void = () => undefined;
  delta: NonNullable<DeploymentView['delta']> = () => undefined;
  readonly #key: NodeKey;

  constructor(key: NodeKey) {
    this.#key = key;
  }

  hold(version: Version, claims: readonly MemberClaim[] = []): void {
    const id = version.contract.deployment;
    this.held.set(id, version);
    this.known.set(id, [...(this.known.get(id) ?? []), ...claims]);
  }

  deployments(): DeploymentId[] {
    return [...this.held.keys()];
  }

  sharedWith(peer: PeerId): DeploymentId[] {
    return this.deployments().filter((id) => this.members(id).some((member) => member.peer === peer));
  }

  proof(id: DeploymentId): HeadProof | undefined {
    return this.held.get(id)?.proof;
  }

  ownClaim(id: DeploymentId): MemberClaim | undefined {
    return this.claims(id).find(({ claim }) => claim.node === this.#key.peerId);
  }

  claims(id: DeploymentId): readonly MemberClaim[] {
    return this.known.get(id) ?? [];
  }

  forks(id: DeploymentId): readonly HeadProof[] {
    return (this.branches.get(id) ?? []).map(({ proof }) => proof);
  }

  contract(id: DeploymentId, version: number, head?: Hash): Uint8Array | undefined {
    const branch = this.branches.get(id)?.find(({ proof }) => headHash(proof.newest.head) === head);
    if (branch !== undefined) return branch.bytes;
    const held = this.held.get(id);
    return held?.contract.version === version ? held.bytes : undefined;
  }

  async acceptProof(_from: PeerId, proof: HeadProof, pull: Pull): Promise<ProofOutcome> {
    const outcome = await this.#accept(proof, pull);
    this.log.push(`proof ${proof.newest.head.version} ${outcome}`);
    return outcome;
  }

  async acceptClaims(_from: PeerId, id: DeploymentId, claims: readonly MemberClaim[]): Promise<readonly MemberClaim[]> {
    const held = this.held.get(id);
    if (held === undefined) return [];
    return claims.filter((claim) => {
      if (claimedMember(held.contract, claim.claim, claim.details) === undefined) return false;
      if (this.claims(id).some((known) => hashClaim(known.claim) === hashClaim(claim.claim))) return false;
      this.known.set(id, [...this.claims(id), claim]);
      this.log.push('claim accepted');
      return true;
    });
  }

  async witness({ signed, details }: JoinRequest, _from?: PeerId): Promise<JoinAnswer> {
    const held = this.held.get(signed.claim.deployment);
    const refused: JoinAnswer = { ok: false, code: 'JOIN_REFUSED', message: 'no' };
    if (held === undefined || claimedMember(held.contract, signed.claim, details) === undefined) return refused;
    try {
      verifyClaim(signed, details);
    } catch {
      return refused;
    }
    const before = this.claims(signed.claim.deployment).find(({ claim }) => claim.invite === signed.claim.invite);
    if (before !== undefined && hashClaim(before.claim) !== hashClaim(signed.claim)) {
      return { ok: false, code: 'INVITE_USED', message: 'another machine has it' };
    }
    const claim = before ?? { ...witnessClaim(signed, Date.now(), this.#key.signer), details };
    if (before === undefined) this.known.set(signed.claim.deployment, [...this.claims(signed.claim.deployment), claim]);
    return { ok: true, claim, proof: held.proof, contract: held.bytes, claims: this.claims(signed.claim.deployment) };
  }

  members(id: DeploymentId): readonly DeploymentPeer[] {
    const held = this.held.get(id);
    if (held === undefined) return [];
    const places = buildView(held.contract, [...this.claims(id)], Date.now()).places;
    return [...places.values()].flatMap(({ peer, keeper }) => (peer === null ? [] : [{ peer, keeper }]));
  }

  anchors(id: DeploymentId): readonly string[] {
    return this.held.get(id)?.contract.anchors ?? [];
  }

  async #acceptFork(id: DeploymentId, proof: HeadProof, pull: Pull): Promise<ProofOutcome> {
    const isKnown = (): boolean =>
      this.forks(id).some(({ newest }) => headHash(newest.head) === headHash(proof.newest.head));
    if (isKnown()) return 'refused';
    const bytes = await pull();
    const contract = parseContract(bytes);
    contractMatchesHead(contract, proof.newest.head);
    if (isKnown()) return 'refused';
    this.branches.set(id, [...(this.branches.get(id) ?? []), { contract, bytes, proof }]);
    return 'forked';
  }

  async #accept(proof: HeadProof, pull: Pull): Promise<ProofOutcome> {
    try {
      const { deployment } = verifyProof(proof);
      const order = compareHeads(this.proof(deployment)?.newest ?? null, proof.newest);
      if (order === 'same' || order === 'older') return order;
      if (order === 'fork' && this.keepsForks) return await this.#acceptFork(deployment, proof, pull);
      if (order === 'fork' || order === 'first') return 'refused';
      const base = this.held.get(deployment);
      const since = base && { version: base.contract.version, head: headHash(base.proof.newest.head) };
      const contract = parseContract(await pull(since), base?.contract);
      contractMatchesHead(contract, proof.newest.head);
      const bytes = canonicalBytes(contract);
      if ((this.held.get(deployment)?.contract.version ?? -1) >= contract.version) return 'same';
      this.held.set(deployment, { contract, bytes, proof });
      this.onChange();
      return 'accepted';
    } catch {
      return 'refused';
    }
  }
}

export interface Machine extends AsyncDisposable {
  readonly peer: PeerId;
  readonly key: NodeKey;
  readonly view: TestView;
  readonly book: AddressBook;
  readonly overlay: Overlay;
}

/** A machine that is not started yet. */
export function machine(
  options: Partial<OverlayOptions> & {
    readonly clock?: Clock;
    readonly key?: NodeKey;
    readonly logger?: Logger;
    readonly owners?: (view: TestView, self: PeerId) => OwnersView;
    readonly isInside?: (host: string) => boolean;
  } = {},
): Machine {
  const { clock = systemClock, key = createNodeKey(), logger = silentLogger, owners, isInside, ...rest } = options;
  const view = new TestView(key);
  const book = createMemoryAddressBook();
  const overlay = createOverlay(
    {
      logger,
      clock,
      key,
      deployments: view,
      addressBook: book,
      ...(owners === undefined ? {} : { owners: owners(view, key.peerId) }),
      ...(isInside === undefined ? {} : { isInside }),
    },
    {
      listen: ['/ip4/127.0.0.1/tcp/0'],
      mdns: false,
      ...rest,
      limits: { redialMinMs: 50, redialMaxMs: 400, ...rest.limits },
    },
  );
  return { peer: key.peerId, key, view, book, overlay, [Symbol.asyncDispose]: () => overlay.stop() };
}

/** A machine that runs. */
export async function started(options: Parameters<typeof machine>[0] = {}): Promise<Machine> {
  const made = machine(options);
  await made.overlay.start({ signal: soon() });
  return made;
}

/** Gives every machine this version, each the others' addresses. */
export function introduce(version: Version, ...machines: readonly Machine[]): void {
  for (const one of machines) {
    one.view.hold(version);
    for (const other of machines)
      if (other !== one)
        one.book.learn(
          other.peer,
          other.overlay.addresses().map((address) => address.replace(/\/p2p\/[^/]+$/, '')),
        );
  }
  for (const one of machines) one.overlay.viewChanged();
}

/** Whether `keeper` is with each of them; two that dial at once have two connections. */
export function isWith(keeper: Machine, ...others: readonly Machine[]): boolean {
  return others.every(({ peer }) => keeper.overlay.connections(peer).length > 0);
}

/** A claim and its details for a vacant place. */
export function claimFor(
  deployment: DeploymentId,
  member: string,
  key: NodeKey,
  invite: InviteKey | null,
): { signed: SignedClaim; details: ClaimDetails } {
  const details: ClaimDetails = { nonce: toBase64url(randomBytes(16)), member, wireguard: null };
  return {
    signed: createClaim({ deployment, details, nodeSigner: key.signer, inviteSigner: invite?.signer ?? null }),
    details,
  };
}

/** Waits until `condition` holds, looking at every turn of the loop. */
export async function until(condition: () => boolean, what: string, ms: number = DEADLINE_MS): Promise<void> {
  const end = Date.now() + ms;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
