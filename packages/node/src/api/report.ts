/** Deployments as the local API shows them. */
import type { Links, PeerId } from '@moat/core';
import { headHash } from '@moat/contract';
import type {
  Branch,
  DeploymentDetail,
  DeploymentHeld,
  DeploymentSummary,
  Document,
  HostsAnswer,
  LocalAddress,
  MemberReceipt,
  Notice,
  PlaceStatus,
  PublicationStatus,
  ServiceStatus,
} from '@moat/admin-api';
import type { ExposedTargets, PrivateNetwork, ServiceState } from '@moat/network';
import type { AddressBook, Overlay } from '@moat/overlay';
import type { Deployment } from '../deployments/deployment.ts';
import type { Doors } from '../doors.ts';
import { pathTo, type PathDeps } from '../explain/path.ts';
import { namedServices } from '../names/named-services.ts';
import type { OwnersAtWork } from '../owners/create-owners.ts';
import { isKeptHere } from '../owners/owner-door.ts';
import type { DeploymentStore } from '../store/deployment-store.ts';
import { NAME_SERVER, type Insides } from '../wireguard/insides.ts';
import { namespaceOf } from '../wireguard/tunnel-entry.ts';
import type { Wireguard } from '../wireguard/wireguard.ts';

const RECEIPTS_SHOWN = 20;
/** Milliseconds without a confirmation after which a keeper's silence says something: a new member may be ahead of it. */
const SILENT_MS = 60_000;

export interface ReportDeps {
  readonly self: PeerId;
  readonly overlay: Pick<Overlay, 'connections' | 'addresses' | 'reach' | 'reservations' | 'receipts'>;
  readonly links: Pick<Links, 'get'>;
  readonly addressBook: AddressBook;
  readonly exposed: ExposedTargets;
  readonly network: (id: string) => PrivateNetwork | undefined;
  readonly wireguard: Pick<Wireguard, 'get'>;
  readonly insides: Pick<Insides, 'entry'>;
  readonly plane: PathDeps['plane'];
  readonly publications: (deployment: Deployment) => readonly PublicationStatus[];
  readonly store: Pick<DeploymentStore, 'receipts'>;
  readonly owners: OwnersAtWork;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export function summaryOf(deployment: Deployment, now: number): DeploymentSummary {
  const { contract, place } = deployment;
  return {
    id: deployment.id,
    name: contract.name,
    version: contract.version,
    head: deployment.head,
    state: deployment.forked ? 'forked' : contract.state,
    member: place?.name ?? null,
    keeper: isKeptHere(deployment),
    acceptedAt: timeText(deployment.acceptedAt),
    freshness: {
      ageMs: deployment.ageMs(now),
      maxStaleMs: deployment.maxStaleMs,
      state: deployment.staleness(now),
    },
    alarms: [...deployment.alarms, ...silenceOf(deployment, now)],
  };
}

/** Nobody tells a removed machine that it was removed; that its keepers do not know it any more is all it can say. */
function silenceOf(deployment: Deployment, now: number): Notice[] {
  const { silentKeeper } = deployment;
  if (silentKeeper === undefined || deployment.ageMs(now) < SILENT_MS) return [];
  const message = `${silentKeeper} answers and does not share this network with this machine: it was removed, or ${silentKeeper} has not joined`;
  return [{ code: 'KEEPER_SILENT', message }];
}

export function heldOf(deployment: Deployment, now: number): DeploymentHeld {
  const { contract, proof, currentClaims } = deployment;
  return {
    ...summaryOf(deployment, now),
    contract: documentOf(contract),
    proof: documentOf(proof),
    claims: currentClaims.map(documentOf),
  };
}

export function detailOf(deps: ReportDeps, deployment: Deployment): DeploymentDetail {
  const places = placesOf(deps, deployment);
  return {
    ...heldOf(deployment, deps.now()),
    places,
    services: servicesOf(deps, deployment, places),
    publications: deps.publications(deployment),
    receipts: deps.store
      .receipts(deployment.id, RECEIPTS_SHOWN)
      .map((receipt) => ({ ...receipt, time: timeText(receipt.time) })),
    memberReceipts: memberReceiptsOf(deps.owners, deployment),
    keepers: keepersOf(deps, deployment),
    anchors: deployment.contract.anchors,
  };
}

/** This machine's history first, then those signed beside it. */
export function branchesOf({ proof, contract, forks }: Deployment): Branch[] {
  const own = { proof, contract };
  return [own, ...forks.list()].map((branch) => ({
    own: branch === own,
    head: headHash(branch.proof.newest.head),
    version: branch.proof.newest.head.version,
    proof: documentOf(branch.proof),
    contract: branch.contract === null ? null : documentOf(branch.contract),
  }));
}

/** Names of granted services with their listeners, for `moat run`. */
export function hostsOf(deps: ReportDeps, deployment: Deployment, doors: Doors): HostsAnswer {
  const network = deps.network(deployment.id);
  const stored = deps.wireguard.get(deployment.id)?.stored;
  // By a process in it: what the agent mounted for a name may be there for the agent alone.
  const netns = stored === undefined ? null : (deps.insides.entry(deployment.id) ?? namespaceOf(stored));
  return {
    deployment: deployment.id,
    network: deployment.contract.name,
    hosts: (network === undefined ? [] : namedServices(network)).flatMap(({ name, host, address, alsoAt = [], port }) =>
      [address, ...alsoAt].map((each) => ({ name: host, service: name, address: each, port })),
    ),
    // The proxy stands where the agent runs.
    socks: netns === null ? doors.proxy() : null,
    proxyPasswordFile: netns === null ? doors.proxyPasswordFile : null,
    netns,
    nameServer: netns === null ? null : NAME_SERVER.host,
  };
}

/** Signed values are plain JSON; the API passes them on as they are. */
export function documentOf(value: object): Document {
  return value as Document;
}

export function timeText(timeMs: number): string {
  return new Date(timeMs).toISOString();
}

const NO_WAY: { readonly path: null; readonly pathReason: null; readonly plane?: undefined } = {
  path: null,
  pathReason: null,
};

function placesOf(deps: ReportDeps, deployment: Deployment): PlaceStatus[] {
  const { self, overlay, links } = deps;
  return [...deployment.view.places.values()].map((place) => {
    const { peer } = place;
    const isOther = peer !== null && peer !== self;
    const { plane, ...way } = isOther ? pathTo(deps, deployment, place) : NO_WAY;
    return {
      name: place.name,
      tags: place.tags,
      ipv4: place.ipv4,
      keeper: place.keeper,
      peer,
      state: place.state,
      self: peer === self,
      connected: peer === self || (isOther && overlay.connections(peer).length > 0),
      ...way,
      ...(plane === undefined ? {} : { plane }),
      rttMs: (isOther ? links.get(peer)?.rttMs : undefined) ?? null,
    };
  });
}

function servicesOf(
  { network, exposed }: ReportDeps,
  deployment: Deployment,
  all: readonly PlaceStatus[],
): ServiceStatus[] {
  const states = new Map(
    network(deployment.id)
      ?.services()
      .map((state) => [state.name, state]),
  );
  return deployment.contract.services.map((service) => {
    const state = states.get(service.name);
    const isLocal = state?.local ?? false;
    const on = deployment.view.membersOn(service.name).map(({ name }) => name);
    const places = all.filter(({ name }) => on.includes(name));
    return {
      name: service.name,
      host: `${service.name}.${deployment.contract.name}.internal`,
      port: service.port,
      protocol: service.protocol,
      target: service.target,
      on,
      granted: state?.granted ?? false,
      local: localOf(state),
      instances: state?.instances.length ?? 0,
      connected: places.filter(({ connected }) => connected).length,
      healthy: state?.healthy ?? 0,
      exposed: isLocal ? exposed.isExposed(service.target, deployment.id, false) : null,
    };
  });
}

/** Where programs here reach a service: over the interface, else at our listener. */
function localOf(state: ServiceState | undefined): LocalAddress | null {
  const [first] = state?.plane ?? [];
  if (state === undefined || !state.granted) return null;
  if (first !== undefined) return { host: first, port: state.servicePort };
  return state.address === null ? null : { host: state.address, port: state.port };
}

/** Where pinned keepers can be dialed, for tokens: our own addresses and what the address book knows. */
export function keepersOf(
  { self, overlay, addressBook }: Pick<ReportDeps, 'self' | 'overlay' | 'addressBook'>,
  deployment: Deployment,
): string[] {
  return deployment.view.keepers().flatMap(({ peer, state }) => {
    if (peer === null || state !== 'pinned') return [];
    if (peer === self) return overlay.addresses();
    return addressBook
      .known(peer)
      .map((address) => (address.includes(`/p2p/${peer}`) ? address : `${address}/p2p/${peer}`));
  });
}

/** The newest of each member, in the order of members. */
function memberReceiptsOf(owners: OwnersAtWork, deployment: Deployment): MemberReceipt[] {
  const byPeer = new Map(owners.receipts.of(deployment).map(({ receipt }) => [receipt.node, receipt]));
  return [...deployment.view.places.values()].flatMap(({ name, peer }) => {
    const receipt = peer === null ? undefined : byPeer.get(peer);
    if (receipt === undefined) return [];
    const { node, version, head, result, code, time } = receipt;
    return [{ member: name, peer: node, version, head, result, code, time }];
  });
}
