/**
 * The agent's wiring: what is made of what, in one place. The first half touches the key and the database and
 * makes objects that only store; the second half opens sockets, each with its undo on the stack.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuthorityOptions } from '@moat/acme';
import {
  MoatError,
  errorCode,
  sleep,
  systemClock,
  type Clock,
  type DeploymentId,
  type LinkStream,
  type Logger,
  type PeerId,
  type Service,
} from '@moat/core';
import { agentEndpoints, createApp, type NodeStatus } from '@moat/admin-api';
import { createLinks, type LinkService } from '@moat/link';
import { createOverlay, type Overlay } from '@moat/overlay';
import { StoredAddressBook } from './address-book.ts';
import { createHandlers } from './api/handlers.ts';
import { keepersOf } from './api/report.ts';
import { ApiServer } from './api/server.ts';
import { statusOf } from './api/status.ts';
import { FileCertificateStore } from './certificates/file-store.ts';
import { MemberCertificates } from './certificates/member-certificates.ts';
import { passedNames } from './certificates/passed-names.ts';
import type { NodeConfig } from './config.ts';
import { Consent } from './consent.ts';
import { Deployments, type Change } from './deployments/deployments.ts';
import { Keeper } from './deployments/keeper.ts';
import { Unkept } from './deployments/unkept.ts';
import { viewOfDeployments } from './deployments/view-of-deployments.ts';
import { createDirectory, openBook } from './directory/create-directory.ts';
import { LocalDoors } from './doors.ts';
import type { PathDeps } from './explain/path.ts';
import { EventFeed } from './event-feed.ts';
import { Forwards } from './forwards.ts';
import { isInsideAddress } from './inside-addresses.ts';
import { joinByToken } from './join.ts';
import { linkAnchors } from './link-anchors.ts';
import { KeyRotation, takeNodeKey } from './key-rotation.ts';
import { LocalTime } from './local-time.ts';
import { createOwners, type OwnersAtWork } from './owners/create-owners.ts';
import { Publisher } from './publications/publisher.ts';
import { redeemCode } from './publications/redeem.ts';
import { Reconciler } from './reconcile.ts';
import { OwnSockets } from './sockets.ts';
import { createForwarding } from './wireguard/forwarding.ts';
import { planePathOf } from './wireguard/report.ts';
import { createWireguard, type WireguardAtWork, type WireguardMachine } from './wireguard/create-wireguard.ts';
import { Database } from './store/database.ts';
import { DeploymentStore } from './store/deployment-store.ts';
import { MachineStore } from './store/machine-store.ts';
import { OwnerStore } from './store/owner-store.ts';

/** Milliseconds that the next key of this machine stays with the keepers: to be greeted, and to pull a version. */
const VISIT_MS = 8000;

export interface NodeDeps extends WireguardMachine {
  readonly logger: Logger;
  /** @defaultValue the system's */
  readonly clock?: Clock;
  /** Asked for by `POST /v1/stop`; the process decides. */
  readonly onStopRequest?: () => void;
  /** The machine has another key from now on: the process stops the agent in order and starts it again. */
  readonly onRestartRequest?: () => void;
}

/** A running agent. */
export interface MoatNode extends Service {
  /** As the local API answers it; only while running. @throws `AGENT_STOPPING` */
  status(): NodeStatus;
}

/** Makes the agent of one machine; nothing is opened before `start`. */
export function createNode(deps: NodeDeps, config: NodeConfig): MoatNode {
  let open: { readonly stack: AsyncDisposableStack; readonly status: () => NodeStatus } | undefined;
  const stop = async (): Promise<void> => {
    const { stack } = open ?? {};
    open = undefined;
    await stack?.disposeAsync();
  };
  return {
    async start({ signal }) {
      await using stack = new AsyncDisposableStack();
      const status = await openNode(deps, config, stack, signal);
      signal.throwIfAborted();
      open = { stack: stack.move(), status };
    },
    stop,
    status() {
      if (open === undefined) throw new MoatError('AGENT_STOPPING', 'the agent does not run');
      return open.status();
    },
    [Symbol.asyncDispose]: stop,
  };
}

async function openNode(
  {
    logger,
    clock: machineClock = systemClock,
    onStopRequest = () => undefined,
    onRestartRequest = () => undefined,
    ...wireguardMachine
  }: NodeDeps,
  config: NodeConfig,
  stack: AsyncDisposableStack,
  signal: AbortSignal,
): Promise<() => NodeStatus> {
  await makeStateDir(config.stateDir);
  const database = stack.adopt(Database.open(join(config.stateDir, 'node.db'), machineClock), (db) => db.close());
  const store = new DeploymentStore(database);
  const key = await takeNodeKey(config.stateDir, () => store.load());
  const self: PeerId = key.peerId;
  const machine = new MachineStore(database);
  const time = new LocalTime({ clock: machineClock, store: machine });
  const feed = new EventFeed(() => time.now());
  const addressBook = stack.adopt(new StoredAddressBook({ clock: time, logger, store: machine }), (book) =>
    book.flush(),
  );
  const startedAt = machineClock.now();
  const doors = new LocalDoors(config, {
    self,
    networks: () => reconciler.networksHere(),
    onAsked: (name) => wireguard.interfaces.meetByName(name),
    logger,
  });

  const follow = (change: Change): void => {
    void reconciler.follow(change);
    owners.follow(change);
    rotation.changed();
    certificates.namesChanged();
    wireguard.claims.changed(change.deployment);
    forwarding.review();
  };
  const deployments = new Deployments({
    self,
    store,
    write: (work) => database.write(work),
    time,
    logger,
    feed,
    onChange: follow,
    onUnkept: (id) => unkept.refused(id),
    onSameHead: (deployment, peer) => reconciler.confirmed(deployment, peer),
  });
  const unkept = new Unkept({ clock: time, compare: (id) => overlay.compare(id) });
  const keeper = new Keeper({ self, signer: key.signer, deployments, store, time, logger });
  const owners: OwnersAtWork = createOwners({
    self,
    signer: key.signer,
    deployments,
    addressBook,
    store: new OwnerStore(database),
    time,
    logger,
    keepers: (deployment) => keepersOf({ self, overlay, addressBook }, deployment),
    overlay: () => overlay,
  });
  const view = viewOfDeployments({ self, deployments, keeper, store, isGuest: (id) => owners.guests.has(id) });
  const book = openBook(config, time, database);
  const overlay: Overlay = createOverlay(
    {
      logger,
      clock: time,
      key,
      addressBook,
      deployments: view,
      owners: owners.view,
      ...(book === undefined ? {} : { directory: book }),
      isInside: (host) => isInsideAddress(deployments.list(), host),
    },
    { listen: config.listen, announce: config.announce, anchor: config.anchor, mdns: config.mdns },
  );
  const directory = createDirectory(
    { self, signer: key.signer, clock: time, logger, deployments, overlay },
    book,
    config,
  );
  const links: LinkService = createLinks(
    {
      logger,
      clock: time,
      control: overlay,
      accept: (stream) => reconciler.accept(stream),
      anchors: linkAnchors({ self, overlay, deployments }),
    },
    {
      role: 'member',
      splice: config.anchor,
      mayLink: (peer) =>
        deployments.list().some((each) => each.linkable.has(peer) && each.staleness(time.now()) !== 'stale'),
      ...(config.linkPort === null ? {} : { listen: { host: config.linkHost, port: config.linkPort } }),
    },
  );
  const publisher = new Publisher({
    overlay,
    links,
    clock: time,
    logger,
    feed,
    store: machine,
    deployment: (id) => deployments.get(id),
    deployments: () => deployments.list(),
    exposed: () => consent.targets,
  });
  const ownSockets = new OwnSockets(() => [...reconciler.networks(), forwards, wireguard.interfaces]);
  const consent = new Consent({
    store: machine,
    ownSockets: () => ownSockets,
    onChanged: () => {
      reconciler.consentChanged();
      wireguard.interfaces.review();
      certificates.namesChanged();
    },
  });
  const certificates: MemberCertificates = new MemberCertificates(
    {
      clock: machineClock,
      logger,
      store: new FileCertificateStore(join(config.stateDir, 'certificates.json')),
      links,
      names: () => passedNames(deployments.list(), consent.targets),
    },
    { authority: await authorityOf(config), files: config.certificates },
  );
  const forwarding = createForwarding({ self, control: overlay, deployments, clock: time, logger }, config);
  const wireguard: WireguardAtWork = createWireguard({
    ...wireguardMachine,
    self,
    signer: key.signer,
    stateDir: config.stateDir,
    deployments,
    keeper,
    store: machine,
    exposed: consent.targets,
    overlay: () => overlay,
    forwarding: () => forwarding,
    keepers: (deployment) => keepersOf({ self, overlay, addressBook }, deployment),
    links: () => links,
    onMoved: (id) => reconciler.restand(id),
    time,
    clock: machineClock,
    logger,
  });
  const reconciler: Reconciler = new Reconciler(
    {
      deployments,
      overlay,
      links,
      publisher,
      receipts: owners.receipts,
      wireguard: wireguard.interfaces,
      insides: wireguard.insides,
      takePackets: (id, stream) => wireguard.paths.take(id, stream),
      exposed: consent.targets,
      tlsEnds: certificates,
      time,
      logger,
      feed,
      store,
    },
    { loopback: config.access === 'loopback' },
  );
  const openStream = async (id: DeploymentId, service: string, opening: AbortSignal): Promise<LinkStream> => {
    const network = reconciler.network(id);
    if (network === undefined) throw new MoatError('NOT_A_MEMBER', 'this machine has no place in that deployment');
    return network.open(service, opening);
  };
  const forwards = new Forwards({ store: machine, logger, loopback: config.access === 'loopback', open: openStream });
  const rotation: KeyRotation = new KeyRotation({
    stateDir: config.stateDir,
    self,
    deployments,
    look: async (next, looking) => {
      const asNext = viewOfDeployments({ self: next.peerId, deployments, keeper, store, isGuest: () => false });
      await using visitor = createOverlay(
        { logger, clock: time, key: next, addressBook, deployments: asNext },
        { listen: [], mdns: false },
      );
      await visitor.start({ signal: looking });
      await sleep(time, VISIT_MS, looking);
    },
    isKnown: () => overlay.connections().some(({ peer }) => deployments.list().some((each) => each.isKeeper(peer))),
    clock: time,
    logger,
    restart: onRestartRequest,
  });
  const status = (): NodeStatus =>
    statusOf({
      self,
      config,
      overlay,
      links,
      deployments,
      doors,
      startedAt,
      now: time,
      rotation,
      wireguard: wireguard.interfaces,
    });
  const plane: PathDeps['plane'] = (deployment, peer) => {
    const path = wireguard.interfaces.plane(deployment.id)?.pathOf(peer);
    return path && planePathOf(deployment, path);
  };
  const stopping = new AbortController();
  const handlers = createHandlers({
    deployments,
    owners,
    signer: key.signer,
    reconciler,
    publisher,
    consent,
    forwards,
    feed,
    store,
    wireguard,
    report: {
      self,
      overlay,
      links,
      addressBook,
      exposed: consent.targets,
      network: (id) => reconciler.network(id),
      wireguard: wireguard.interfaces,
      insides: wireguard.insides,
      plane,
      publications: (deployment) => publisher.statusOf(deployment),
      store,
      owners,
      now: () => time.now(),
    },
    probe: { self, overlay, links, plane, open: openStream, clock: time },
    explain: {
      self,
      overlay,
      links,
      plane,
      open: openStream,
      clock: time,
      exposed: consent.targets,
      publications: (deployment) => publisher.statusOf(deployment),
    },
    status,
    doors,
    certificates,
    join: (token, waitMs, calling) =>
      joinByToken(
        {
          self,
          signer: key.signer,
          overlay,
          deployments,
          store: machine,
          wireguardKey: async (id) => (await wireguard.keys.current(id)).publicKey,
          addressBook,
          clock: time,
          logger,
          feed,
        },
        token,
        waitMs,
        AbortSignal.any([calling, stopping.signal]),
      ),
    redeem: (request, calling) => redeemCode({ overlay }, request, AbortSignal.any([calling, stopping.signal])),
    rotateKey: () => rotation.prepare(),
    directory: directory.desk,
    stop: onStopRequest,
  });
  const app = await createApp(agentEndpoints, handlers, {
    title: 'Moat agent',
    version: '1',
    onUnexpected: (error) =>
      logger.error({ component: 'node.api', code: errorCode(error), err: error }, 'request failed'),
  });

  // From here on the machine is touched.
  deployments.load();
  consent.load();
  owners.load();
  await overlay.start({ signal });
  stack.defer(() => overlay.stop());
  stack.defer(() => unkept.stop());
  directory.start();
  stack.defer(() => directory.stop());
  await links.start({ signal });
  stack.defer(() => links.stop());
  await doors.start();
  stack.defer(() => doors.stop());
  ownSockets.settle({ listen: config.listen, overlay, links, doors: doors.sockets() });
  stack.defer(() => reconciler.stop());
  await certificates.start({ signal });
  stack.defer(() => certificates.stop());
  forwarding.start();
  stack.defer(() => forwarding.stop());
  await wireguard.interfaces.load();
  stack.defer(() => wireguard.paths.stop());
  stack.defer(() => wireguard.interfaces.stop());
  await reconciler.start();
  owners.start();
  stack.defer(() => owners.stop());
  stack.defer(() => publisher.stop());
  await forwards.start();
  stack.defer(() => forwards.stop());
  const server = new ApiServer(app, config.socketPath);
  await server.start();
  stack.defer(() => server.stop());
  await rotation.start();
  stack.defer(() => rotation.stop());
  stack.defer(() => {
    feed.emit({ kind: 'agent', state: 'stopping' });
    feed.end();
    stopping.abort(new MoatError('AGENT_STOPPING', 'the agent is going down', { retryable: true }));
  });
  logger.info({ component: 'node', peer: self, count: deployments.list().length }, 'agent started');
  for (const { code, message } of status().warnings) logger.info({ component: 'node', code }, message);
  return status;
}

const LETSENCRYPT = 'https://acme-v02.api.letsencrypt.org/directory';

/** @throws `CONFIG_INVALID` */
async function authorityOf({ acmeDirectory, acmeCa }: NodeConfig): Promise<AuthorityOptions | undefined> {
  if (acmeDirectory === 'off') return undefined;
  const directory = acmeDirectory === 'letsencrypt' ? LETSENCRYPT : acmeDirectory;
  if (acmeCa === undefined) return { directory };
  try {
    return { directory, trust: await readFile(acmeCa, 'utf8') };
  } catch (cause) {
    throw new MoatError('CONFIG_INVALID', `acmeCa: ${acmeCa} cannot be read`, { cause, reason: errorCode(cause) });
  }
}

async function makeStateDir(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
  } catch (cause) {
    throw new MoatError('STATE_UNUSABLE', `cannot make ${path}`, { cause, reason: errorCode(cause) });
  }
}
