/**
 * One member's private network: what this machine may reach, and what reaches it.
 * Outward: rootless/ → opener → *link*. Inward: *link* → accept → admission → connector/.
 */
import { Bag, MoatError, type Bagged, type LinkStream, type OpenRequest, type Timer, allFields } from '@moat/core';
import { grantedServices, may, type ContractView, type Place } from '@moat/contract';
import { admit, type Admitting, type Asked } from './admission.ts';
import { Admitted } from './admitted.ts';
import { serveH2c, type H2cDeps } from './connector/h2c.ts';
import { H2cPool } from './connector/h2c-pool.ts';
import { HealthChecks, type CheckedService } from './connector/health.ts';
import { serveHttp, type HttpDeps } from './connector/http1.ts';
import type { ConnectDeps } from './connector/connect.ts';
import { ServicePool } from './connector/service-pool.ts';
import { clientOf, proxyHeader } from './connector/proxy-header.ts';
import { serveTcp, type Running } from './connector/tcp.ts';
import { serveTls, type TlsEnds } from './connector/tls-end.ts';
import { parseTarget, type SocketAddress } from './exposed.ts';
import type { HeldStream } from './held-stream.ts';
import { Opener, type Candidate } from './opener.ts';
import { PacketGate } from './plane/ride/packet-gate.ts';
import type { NetworkDeps, NetworkOptions, PrivateNetwork } from './private-network.ts';
import { refuse } from './refuse.ts';
import { Listeners } from './rootless/listeners.ts';
import { hostNameOf } from './rootless/names.ts';
import { createProxy, type ProxyServer } from './rootless/proxy.ts';
import type { ProxyDestination } from './rootless/proxy-rules.ts';
import type { ServiceState } from './service-state.ts';
import { PublicDoor, type DoorKeeper } from './public-door.ts';
import { createStreamPair } from './stream-pair.ts';

/** Opens nothing until `start` and `update`. */
export function createNetwork(deps: NetworkDeps, options: NetworkOptions): PrivateNetwork {
  return new AttachedNetwork(deps, options);
}

const NO_ENDS: TlsEnds = { contextFor: () => Promise.resolve(undefined), proofFor: () => undefined };

/** A stream from a peer, with what was decided about it. */
interface Accepted extends Bagged {
  readonly asked: Asked;
  readonly target: string;
  readonly running: Running;
}

/** A timer stands still while the machine sleeps, and does not follow a clock that is set: looks again after this. */
const LOOK_AGAIN_MS = 30_000;

class AttachedNetwork implements PrivateNetwork {
  readonly #deps: NetworkDeps;
  readonly #options: NetworkOptions;
  readonly #connectDeps: ConnectDeps;
  readonly #pool: ServicePool;
  readonly #httpDeps: HttpDeps;
  readonly #h2cDeps: H2cDeps;
  readonly #health: HealthChecks;
  readonly #opener: Opener;
  readonly #listeners: Listeners;
  readonly #admitted = new Admitted();
  readonly #door: PublicDoor;
  readonly #doorKeeper: DoorKeeper = {
    onEntered: (stream, leave) => {
      // It may have been held at the door for a while.
      const admission = this.#admit(stream, this.#deps.clock.now());
      if (admission.admitted) return this.#serve(stream, admission, leave);
      leave();
      this.#refuse(stream, admission.code);
    },
    onRefused: (stream, code) => this.#refuse(stream, code),
  };
  readonly #packets: PacketGate;
  readonly #accepted = new Bag<Accepted>();
  readonly #opened = new Set<HeldStream>();
  #view: ContractView | undefined;
  #socks: ProxyServer | undefined;
  #expiry: Timer | undefined;
  /** The last update in line; updates never overlap. */
  #updating: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(deps: NetworkDeps, options: NetworkOptions) {
    this.#deps = deps;
    this.#options = options;
    const { clock, logger } = deps;
    const { inside } = options;
    this.#connectDeps = { clock, isOwnSocket: (host, port) => options.exposed.isOwnSocket(host, port), inside };
    this.#door = new PublicDoor(clock);
    this.#packets = new PacketGate({ self: options.self, take: options.takePackets });
    this.#pool = new ServicePool(this.#connectDeps);
    this.#httpDeps = { pool: this.#pool, clock, logger };
    this.#h2cDeps = { sessions: new H2cPool(this.#connectDeps), clock, logger };
    this.#health = new HealthChecks({
      ...this.#httpDeps,
      onChange: (service, healthy) => {
        if (healthy) logger.info({ service }, 'service is healthy again');
        else logger.warn({ service }, 'service failed its health check');
      },
    });
    this.#opener = new Opener({
      links: deps.links,
      clock: deps.clock,
      random: deps.random ?? Math.random,
      openLocal: (request) => this.#openLocal(request),
    });
    this.#listeners = new Listeners(
      { open: (service, signal) => this.open(service, signal), inside },
      { deployment: options.deployment, member: options.self },
    );
  }

  get socks(): SocketAddress | undefined {
    return this.#socks && { host: this.#socks.host, port: this.#socks.port };
  }

  async start(): Promise<void> {
    if (this.#options.socks === undefined) return;
    this.#socks = await createProxy({ resolve: (host, port) => this.resolve(host, port) }, this.#options.socks);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#view = undefined;
    this.#expiry?.cancel();
    for (const { running } of this.#accepted.list()) running.abort('NETWORK_STOPPED');
    for (const stream of this.#opened) stream.reset('NETWORK_STOPPED');
    this.#packets.endAll('NETWORK_STOPPED');
    this.#health.stop();
    this.#pool.close();
    this.#h2cDeps.sessions.close();
    await this.#updating;
    await Promise.all([this.#listeners.close(), this.#socks?.stop()]);
    this.#socks = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  update(view: ContractView): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    this.#view = view;
    this.#door.update(view);
    this.review();
    this.#opener.retain(new Map(view.contract.services.map(({ name }) => [name, peersOn(view, name)])));
    this.#armExpiry(view);
    const applied = this.#updating.then(() => this.#applyListeners());
    // One that failed keeps neither the next from its turn nor the network from stopping.
    this.#updating = applied.catch(() => undefined);
    return applied;
  }

  review(): void {
    const now = this.#deps.clock.now();
    this.#admitted.forget();
    for (const { asked, target, running } of this.#accepted.list()) {
      const admission = this.#admit(asked, now);
      if (!admission.admitted) running.abort(admission.code);
      // A target the contract moved away from is no longer what was granted.
      else if (admission.service.target !== target) running.abort('SERVICE_UNKNOWN');
    }
    for (const stream of this.#opened) {
      const code = this.#endOf(stream, now);
      if (code !== undefined) stream.reset(code);
    }
    const refusal = this.#refusal();
    if (this.#view === undefined || refusal !== undefined) this.#packets.endAll(refusal ?? 'NETWORK_STOPPED');
    else this.#packets.review(this.#view, now);
    this.#health.update(this.#checkedServices());
  }

  accept(stream: LinkStream): void {
    if (stream.request.kind === 'packets') return this.#acceptPackets(stream);
    const admission = this.#admit(stream, this.#deps.clock.now());
    const code = admission.admitted ? this.#unableCode(stream.request.service) : admission.code;
    if (!admission.admitted || code !== undefined) return this.#refuse(stream, code ?? 'GRANT_DENIED');
    if (!admission.isGateway) return this.#serve(stream, admission, () => undefined);
    this.#door.enter(stream, this.#doorKeeper);
  }

  #refuse(stream: LinkStream, code: string): void {
    this.#deps.logger.debug({ peer: stream.peer, service: stream.request.service, code }, 'refused a stream');
    refuse(stream, code);
  }

  #serve(stream: LinkStream, admission: Admitting, leave: () => void): void {
    const { target, protocol } = admission.service;
    const address = parseTarget(target);
    const onClosed = (): void => {
      leave();
      if (accepted) this.#accepted.delete(accepted);
    };
    let accepted: Accepted | undefined;
    const preamble = this.#preamble(stream, admission);
    const serve = (): Running => {
      if (stream.request.kind === 'tcp') {
        const { tlsEnds, logger } = this.#deps;
        // What a gateway passes on unread ends here, or at a service that speaks TLS itself: never in the clear.
        if (admission.isGateway && protocol !== 'tcp') {
          const ends = tlsEnds ?? NO_ENDS;
          const speaks = protocol === 'grpc' ? 'h2' : 'http/1.1';
          return serveTls(
            { ...this.#connectDeps, logger, ends },
            stream,
            { target: address, protocol: speaks, preamble },
            onClosed,
          );
        }
        return serveTcp(this.#connectDeps, stream, { target: address, preamble }, onClosed);
      }
      if (protocol === 'grpc') return serveH2c(this.#h2cDeps, stream, address, onClosed);
      return serveHttp(this.#httpDeps, stream, preamble === undefined ? address : { ...address, preamble }, onClosed);
    };
    const running = serve();
    if (running.closed) return;
    accepted = { asked: stream, target, running, place: -1 };
    this.#accepted.add(accepted);
  }

  async open(service: string, signal: AbortSignal): Promise<LinkStream> {
    const view = this.#view;
    if (!view || this.#stopped) throw new MoatError('NETWORK_STOPPED', 'the network has no contract yet or is stopped');
    const denial = this.#denialOf(service, this.#deps.clock.now());
    if (denial) throw denial;
    const candidates = view.membersOn(service).flatMap(({ peer, name }): Candidate[] => {
      return peer === null ? [] : [{ peer, local: name === this.#options.self }];
    });
    const request: OpenRequest = { deployment: this.#options.deployment, service, kind: 'tcp' };
    const stream = await this.#opener.open(request, candidates, signal, this.#opened);
    // The contract may have changed while the instance was answering.
    const late = this.#endOf(stream, this.#deps.clock.now());
    if (late === undefined) return stream;
    stream.reset(late);
    throw new MoatError(late, `${service} was taken away while it was being opened`);
  }

  services(): readonly ServiceState[] {
    const view = this.#view;
    if (!view) return [];
    const now = this.#deps.clock.now();
    return view.contract.services.map(({ name, protocol, port }) => {
      const listener = this.#listeners.get(name);
      const stands = listener && !('code' in listener) ? listener : undefined;
      const held = view.membersOn(name).filter(({ peer }) => peer !== null);
      const well = held.filter((place) => place.name !== this.#options.self || this.#health.isHealthy(name));
      return {
        name,
        host: hostNameOf(name, view.contract.name),
        protocol,
        servicePort: port,
        address: stands?.host ?? null,
        port: stands?.port ?? port,
        plane: this.#options.planeAddresses?.(name) ?? [],
        granted: may(view, this.#options.self, name, now).allowed,
        local: held.some((place) => place.name === this.#options.self),
        instances: held.map((place) => place.name),
        healthy: this.#opener.healthy(name, well.flatMap(peerOf)).length,
        ...(listener && 'code' in listener
          ? { code: listener.code }
          : protocol === 'udp'
            ? { code: NEEDS_WIREGUARD }
            : {}),
      };
    });
  }

  resolve(host: string, port: number): ProxyDestination | undefined {
    const state = this.services().find((each) => {
      const byName = each.host === host && (each.servicePort === port || each.port === port);
      return byName || (each.address === host && each.port === port);
    });
    return state && { open: (signal) => this.open(state.name, signal) };
  }

  sockets(): readonly SocketAddress[] {
    return this.socks ? [...this.#listeners.sockets(), this.socks] : this.#listeners.sockets();
  }

  #acceptPackets(stream: LinkStream): void {
    const refusal = this.#refusal();
    if (this.#view === undefined || refusal !== undefined) return this.#refuse(stream, refusal ?? 'NETWORK_STOPPED');
    const code = this.#packets.accept(stream, this.#view, this.#deps.clock.now());
    if (code !== undefined) this.#refuse(stream, code);
  }

  #refusal(): string | undefined {
    return this.#stopped ? 'NETWORK_STOPPED' : this.#options.refusal?.();
  }

  #admit(asked: Asked, now: number): ReturnType<typeof admit> | { readonly admitted: false; readonly code: string } {
    const view = this.#view;
    if (!view || this.#stopped) return { admitted: false, code: 'NETWORK_STOPPED' };
    const code = this.#options.refusal?.();
    if (code !== undefined) return { admitted: false, code };
    const known = this.#admitted.get(asked, now);
    if (known !== undefined) return known;
    const admission = admit({ view, self: this.#options.self, exposed: this.#options.exposed }, asked, now);
    if (admission.admitted) this.#admitted.keep(asked, admission, view.nextExpiry(now) ?? Infinity);
    return admission;
  }

  /** What a service that asks for it is told of a connection first: its public client, or the member that opened it. */
  #preamble(stream: LinkStream, { service, isGateway }: Admitting): Buffer | undefined {
    if (service.proxyProtocol === undefined) return undefined;
    if (isGateway) {
      const { requestHead } = stream;
      const client = requestHead && clientOf(allFields(requestHead));
      return proxyHeader(stream.arrival ?? (client === undefined ? {} : { client }));
    }
    const addressOf = (place: Place | undefined): string | undefined =>
      this.#view?.contract.members.find(({ name }) => name === place?.name)?.ipv4;
    const from = addressOf(this.#view?.memberOf(stream.peer));
    const own = addressOf(this.#view?.places.get(this.#options.self));
    if (from === undefined || own === undefined) return proxyHeader();
    return proxyHeader({ client: { host: from, port: 0 }, server: { host: own, port: service.port } });
  }

  /** Why this member may not open `service`; undefined when it may. */
  #denialOf(service: string, now: number): MoatError | undefined {
    const view = this.#view;
    if (!view) return new MoatError('NETWORK_STOPPED', 'the network has no contract');
    const code = this.#options.refusal?.();
    if (code !== undefined)
      return new MoatError(code, `${view.contract.name} refuses everything now`, { details: { service } });
    const access = may(view, this.#options.self, service, now);
    if (!access.allowed) return new MoatError(access.code, access.reason, { details: { service } });
    return view.services.get(service)?.protocol === 'udp' ? needsWireguard(service) : undefined;
  }

  /** Why a stream that this member opened may not go on; undefined when it may. */
  #endOf({ request, peer }: HeldStream, now: number): string | undefined {
    const denial = this.#denialOf(request.service, now);
    if (denial !== undefined || this.#view === undefined) return denial?.code;
    return peersOn(this.#view, request.service).includes(peer) ? undefined : 'SERVICE_UNKNOWN';
  }

  /** Why an admitted stream is refused nonetheless. */
  #unableCode(service: string): 'SERVICE_BUSY' | 'SERVICE_UNREACHABLE' | undefined {
    if (this.#accepted.size >= (this.#options.maxAccepted ?? 4_096)) return 'SERVICE_BUSY';
    return this.#health.isHealthy(service) ? undefined : 'SERVICE_UNREACHABLE';
  }

  /** Only what the operator exposed is asked: a contract alone makes this machine send nothing anywhere. */
  #checkedServices(): readonly CheckedService[] {
    const view = this.#view;
    if (!view || view.contract.state === 'ended' || this.#stopped) return [];
    if (this.#options.refusal?.() !== undefined) return [];
    const { self, deployment, exposed } = this.#options;
    return view
      .servicesOf(self)
      .flatMap(({ name, target, protocol, health: path, proxyProtocol }): CheckedService[] => {
        const asked = path !== undefined && protocol === 'http' && exposed.isExposed(target, deployment, false);
        const preamble = proxyProtocol === undefined ? undefined : proxyHeader();
        return asked ? [{ name, target, path, host: hostNameOf(name, view.contract.name), preamble }] : [];
      });
  }

  /** A stream to this member itself takes the same checks as one from outside. */
  #openLocal(request: OpenRequest): LinkStream {
    const peer = this.#view?.places.get(this.#options.self)?.peer ?? '';
    const { opened, accepted } = createStreamPair({ request, opener: peer, acceptor: peer });
    this.accept(accepted);
    return opened;
  }

  /** Reads the newest view when its turn comes, so that a burst of updates costs one change. */
  async #applyListeners(): Promise<void> {
    const view = this.#view;
    if (!view || !this.#options.loopback) return;
    const granted = grantedServices(view, this.#options.self, this.#deps.clock.now());
    const byLink = granted.filter(({ protocol }) => protocol !== 'udp');
    const wanted = byLink.map(({ name, port }) => ({ service: name, port }));
    await this.#listeners.remove(wanted);
    if (!this.#stopped) await this.#listeners.add(wanted);
    for (const { name, listener } of byLink.map((each) => ({ ...each, listener: this.#listeners.get(each.name) }))) {
      if (listener && 'code' in listener) {
        this.#deps.logger.warn({ service: name, code: listener.code }, 'no local address for a service');
      }
    }
  }

  /** Grants and memberships end by the clock, not only by a new version. */
  #armExpiry(view: ContractView): void {
    this.#expiry?.cancel();
    this.#expiry = undefined;
    const now = this.#deps.clock.now();
    const next = view.nextExpiry(now);
    if (next === null) return;
    const look = (): void => {
      const leftMs = next - this.#deps.clock.now();
      if (leftMs < 0) void this.update(view).catch(() => undefined);
      else this.#expiry = this.#deps.clock.after(Math.min(leftMs + 1, LOOK_AGAIN_MS), look);
    };
    look();
  }
}

function peerOf({ peer }: Place): string[] {
  return peer === null ? [] : [peer];
}

function peersOn(view: ContractView, service: string): string[] {
  return view.membersOn(service).flatMap(peerOf);
}

const NEEDS_WIREGUARD = 'NEEDS_WIREGUARD';

/** A link carries streams; datagrams have a way of their own. */
function needsWireguard(service: string): MoatError<typeof NEEDS_WIREGUARD> {
  return new MoatError(NEEDS_WIREGUARD, `${service} takes datagrams (UDP), and only an interface carries those`, {
    details: { service },
    next: ['moat wireguard up', 'apt install wireguard-tools nftables wireguard-go   where they are missing'],
  });
}
