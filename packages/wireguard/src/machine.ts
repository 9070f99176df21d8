/** The port `Tunnels` on this machine: WireGuard by `wg`, `ip` and `nft`. */
import type { Endpoint, PacketRules, PeerChange, TunnelPeerState, TunnelSpec, Tunnels } from '@moat/core';
import { doSteps } from './apply.ts';
import type { Backend } from './backend.ts';
import { failure } from './errors.ts';
import { closeHidden, findHidden, openHidden, type Hidden } from './hidden.ts';
import { isEverywhere } from './cidr.ts';
import { linkDown } from './ip.ts';
import { placeOf, type Place } from './namespace.ts';
import { closeTable, parseNftMarks, removeTable, replaceTable, rulesDigest, showMarks } from './nft.ts';
import { describeStep, planTunnel, type Step } from './plan.ts';
import type { Records, TunnelRecord } from './records.ts';
import { RulesGuard } from './rules-guard.ts';
import type { RulesKeeper } from './rules-keeper.ts';
import { createRemapped, outsideOf, settleHidden } from './remap.ts';
import { isThere, readStanding, stands } from './standing.ts';
import { settingsOf } from './sysctl.ts';
import { toolFailure, type ToolRun, type Tools } from './tool.ts';
import { checkUdpPort } from './udp-port.ts';
import { changePeer, parseWgDump, removePeers, showDump, startProbe } from './wg.ts';

/** Probes of one interface at a time; the oldest goes for a new one. */
const MAX_PROBES = 64;
const NAME = /^[A-Za-z][A-Za-z0-9_-]{0,14}$/;

/** What it stands on. */
export interface MachineTunnelsDeps {
  readonly tools: Tools;
  readonly backend: Backend;
  readonly records: Records;
  readonly keeper: Pick<RulesKeeper, 'keep' | 'end'>;
}

/** An interface as this process applied it last. */
interface Applied {
  readonly place: Place;
  readonly wgNamespace: string | null;
  /** Of the contract. */
  readonly peers: ReadonlySet<string>;
  readonly rules: string;
}

/** One thing at a time for each interface. */
export class MachineTunnels implements Tunnels {
  readonly #deps: MachineTunnelsDeps;
  /** Ends of what runs for a name: one thing at a time. */
  readonly #turns = new Map<string, Promise<unknown>>();
  /** Keys that probe, oldest first, by interface: `apply` lets them be. */
  readonly #probes = new Map<string, Set<string>>();
  readonly #applied = new Map<string, Applied>();

  readonly #guard: RulesGuard;

  constructor(deps: MachineTunnelsDeps) {
    this.#deps = deps;
    this.#guard = new RulesGuard({ tools: deps.tools, inTurn: (name, work) => this.#inTurn(name, work) });
  }

  get backend(): 'kernel' | 'userspace' {
    return this.#deps.backend.kind;
  }

  apply(spec: TunnelSpec): Promise<readonly string[]> {
    return this.#inTurn(spec.name, async () => {
      const place = await placeOf(spec.namespace);
      try {
        return await this.#apply(spec, place);
      } catch (error) {
        // What stands is not known any more.
        this.#applied.delete(spec.name);
        await this.#close(spec.name, place);
        throw error;
      }
    });
  }

  cut(name: string, publicKeys: readonly string[], rules: PacketRules): Promise<readonly string[]> {
    return this.#inTurn(name, async () => {
      const applied = this.#applied.get(name);
      if (!applied) throw failure('TUNNEL_UNKNOWN', `${name} was not applied yet`, { details: { name } });
      return this.#cut(name, applied, publicKeys, rules);
    });
  }

  peers(name: string): Promise<readonly TunnelPeerState[]> {
    return this.#inTurn(name, () => this.#dump(name));
  }

  setPeer(name: string, publicKey: string, change: PeerChange): Promise<void> {
    return this.#inTurn(name, async () => {
      // `wg set` would make a peer that is not there.
      const known = this.#applied.get(name)?.peers.has(publicKey) === true;
      if (!known && !(await this.#dump(name)).some((peer) => peer.publicKey === publicKey)) {
        throw failure('TUNNEL_UNKNOWN', `${name} has no peer ${publicKey}`, { details: { name, publicKey } });
      }
      await this.#deps.tools.run({ ...changePeer(name, publicKey, change), namespace: await this.#wgNamespace(name) });
    });
  }

  probe(name: string, publicKey: string, endpoint: Endpoint): Promise<void> {
    return this.#inTurn(name, async () => {
      const { tools } = this.#deps;
      const namespace = await this.#wgNamespace(name);
      if (this.#applied.get(name)?.peers.has(publicKey) === true) {
        throw failure('TUNNEL_FAILED', 'a peer of the network is not probed with', { details: { name, publicKey } });
      }
      const probes = this.#probes.get(name) ?? new Set();
      this.#probes.set(name, probes);
      const [oldest] = probes;
      if (probes.size >= MAX_PROBES && !probes.has(publicKey) && oldest !== undefined) {
        for (const run of removePeers(name, [oldest])) await tools.run({ ...run, namespace });
        probes.delete(oldest);
      }
      await tools.run({ ...startProbe(name, publicKey, endpoint), namespace });
      probes.delete(publicKey);
      probes.add(publicKey);
    });
  }

  endProbe(name: string, publicKey: string): Promise<void> {
    return this.#inTurn(name, async () => {
      if (this.#probes.get(name)?.delete(publicKey) !== true) return;
      const namespace = await this.#wgNamespace(name);
      for (const run of removePeers(name, [publicKey])) await this.#deps.tools.run({ ...run, namespace });
    });
  }

  async list(): Promise<readonly string[]> {
    const { tools, records } = this.#deps;
    const found: string[] = [];
    for (const name of await records.names()) {
      const record = await records.read(name);
      for (const { path } of record ? await this.#placesOf(record) : []) {
        if (await stands(tools, name, path)) {
          found.push(name);
          break;
        }
      }
    }
    return found.toSorted();
  }

  remove(name: string): Promise<void> {
    return this.#inTurn(name, async () => {
      await this.#destroy(checkedName(name), await this.#deps.records.read(name));
    });
  }

  async #apply(spec: TunnelSpec, place: Place): Promise<readonly string[]> {
    const { tools, backend } = this.#deps;
    const name = checkedName(spec.name);
    const { remap } = spec;
    const outside = remap ? outsideOf(spec, remap) : spec;
    // A default route of the agent's own namespace is the whole machine's.
    const routes = place.path === null ? outside.routes.filter((route) => !isEverywhere(route)) : outside.routes;
    const wanted = { ...outside, routes };
    const done = await this.#makeWay(spec, place);
    const hidden = await this.#record(spec, place);
    const where = { name, namespace: place.path, wgNamespace: backend.wgNamespace(hidden ?? place) };
    const settings = settingsOf(spec, place.path);
    this.#guard.looks(name);
    const before = await readStanding(tools, where, [...settings.keys()]);
    if (before?.port !== spec.port) await checkUdpPort(spec.port);
    const keep = this.#probes.get(name) ?? new Set();
    const steps = planTunnel(before, wanted, { settings, keep });
    const { wgNamespace } = where;
    const peers = new Set(spec.peers.map(({ publicKey }) => publicKey));
    this.#applied.set(name, { place, wgNamespace, peers, rules: rulesDigest(spec.rules.chains) });
    const create = (): Promise<void> =>
      hidden ? createRemapped(tools, backend, name, place, hidden) : backend.create(name, place);
    const rules = replaceTable(name, spec.rules.chains, place.path);
    await this.#keep(name, place, rules);
    await doSteps(steps, { tools, ...where, create });
    done.push(...steps.map(describeStep));
    if (remap && hidden && (await settleHidden(tools, spec, remap, hidden))) {
      done.push(`${remap.network} stands as ${remap.as}`);
    }
    if (steps.some((step) => step.do === 'rules')) await this.#checkRules(spec, place);
    this.#guard.hold(name, place, rules);
    return done;
  }

  async #cut(name: string, applied: Applied, publicKeys: readonly string[], rules: PacketRules): Promise<string[]> {
    const { place, wgNamespace } = applied;
    const create = (): Promise<void> => Promise.resolve();
    const context = { tools: this.#deps.tools, name, namespace: place.path, wgNamespace, create };
    const peers = new Set(applied.peers);
    const steps: Step[] = publicKeys.flatMap((publicKey) =>
      peers.delete(publicKey) ? { do: 'remove-peer', publicKey } : [],
    );
    await doSteps(steps, context);
    this.#applied.set(name, { ...applied, peers });
    const digest = rulesDigest(rules.chains);
    if (digest !== applied.rules) {
      const step: Step = { do: 'rules', chains: rules.chains };
      const run = replaceTable(name, rules.chains, place.path);
      await this.#keep(name, place, run);
      await doSteps([step], context);
      this.#guard.hold(name, place, run);
      this.#applied.set(name, { ...applied, peers, rules: digest });
      steps.push(step);
    }
    return steps.map(describeStep);
  }

  /** Takes away what stands under the name and cannot become what the spec wants. */
  async #makeWay({ name, remap }: TunnelSpec, place: Place): Promise<string[]> {
    const { tools, records } = this.#deps;
    const record = await records.read(name);
    // Whose hidden namespace nobody can find any more.
    if (!record && !(remap && (await isThere(tools, name, place.path)))) return [];
    const fits = record?.place.id === place.id && (record.hidden !== null) === (remap !== undefined);
    if (fits && (!record.hidden || (await this.#isWhole(name, record.hidden)))) return [];
    await this.#destroy(name, record ?? { name, place, hidden: null });
    return ['interface that stood otherwise removed'];
  }

  /** A cable stays when the process at its other end is gone. */
  async #isWhole(name: string, hidden: Hidden): Promise<boolean> {
    const inside = await findHidden(hidden);
    return inside !== undefined && (await isThere(this.#deps.tools, name, inside.path));
  }

  /** Says to later processes where the interface is about to stand; where WireGuard does, when that is hidden. */
  async #record({ name, remap }: TunnelSpec, place: Place): Promise<Place | null> {
    const { records } = this.#deps;
    const record = await records.read(name);
    if (!remap) {
      if (record?.place.path !== place.path || record.place.id !== place.id)
        await records.write({ name, place, hidden: null });
      return null;
    }
    if (record?.hidden) return record.hidden.place;
    const hidden = await openHidden();
    await records.write({ name, place, hidden });
    return hidden.place;
  }

  /** That nft took a table does not say that it stands: another program may replace all tables at any time. */
  async #checkRules(spec: TunnelSpec, place: Place): Promise<void> {
    this.#guard.looks(spec.name);
    const marks = parseNftMarks(await this.#deps.tools.run(showMarks(place.path)));
    if (marks.get(spec.name) !== rulesDigest(spec.rules.chains)) {
      throw failure('TUNNEL_FAILED', `the packet rules of ${spec.name} do not stand`, { retryable: true });
    }
  }

  /** Lets nothing in: by rules, or where they cannot be written, by taking the interface down. */
  async #close(name: string, place: Place): Promise<void> {
    const closing = closeTable(name, place.path);
    await this.#keep(name, place, closing);
    if (await works(this.#deps.tools, closing)) this.#guard.hold(name, place, closing);
    else await works(this.#deps.tools, linkDown(name, place.path));
  }

  /** Also while no agent runs. */
  async #keep(name: string, place: Place, rules: ToolRun): Promise<void> {
    const { keeper } = this.#deps;
    await (place.path === null ? keeper.keep(name, rules) : keeper.end(name));
  }

  async #destroy(name: string, record: TunnelRecord | undefined): Promise<void> {
    const { tools, backend, records } = this.#deps;
    this.#probes.delete(name);
    this.#applied.delete(name);
    this.#guard.release(name);
    await this.#deps.keeper.end(name);
    const ours = await placeOf(null);
    const places = new Map([ours, ...(record ? await this.#placesOf(record) : [])].map((place) => [place.id, place]));
    // Rules last: while the interface stands they hold.
    await backend.destroy(name, [...places.values()].toReversed());
    if (record?.hidden) await closeHidden(record.hidden);
    for (const { path, id } of places.values()) {
      if (id === record?.hidden?.place.id) continue;
      const run = removeTable(name, path);
      const removed = await tools.try(run);
      if (!removed.ok) throw toolFailure(run, removed);
    }
    await records.remove(name);
  }

  /** Namespaces of a record that are still there. */
  async #placesOf({ place, hidden }: TunnelRecord): Promise<readonly Place[]> {
    const now = await placeOf(place.path).catch(() => undefined);
    const inside = hidden ? await findHidden(hidden) : undefined;
    return [...(now?.id === place.id ? [now] : []), ...(inside ? [inside] : [])];
  }

  async #wgNamespace(name: string): Promise<string | null> {
    const record = await this.#deps.records.read(name);
    const place = record && (await this.#placesOf(record)).at(-1);
    if (!place) throw failure('TUNNEL_UNKNOWN', `there is no interface ${name}`, { details: { name } });
    return this.#deps.backend.wgNamespace(place);
  }

  async #dump(name: string): Promise<readonly TunnelPeerState[]> {
    const run = { ...showDump(name), namespace: await this.#wgNamespace(name) };
    const shown = await this.#deps.tools.try(run);
    if (shown.ok) return parseWgDump(shown.stdout).peers;
    if (/no such device|protocol not supported/i.test(shown.complaint)) {
      throw failure('TUNNEL_UNKNOWN', `there is no interface ${name}`, { details: { name } });
    }
    throw toolFailure(run, shown);
  }

  async #inTurn<T>(name: string, work: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(name);
    const turn = (async () => {
      await before;
      return await work();
    })();
    const end = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(name, end);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(name) === end) this.#turns.delete(name);
    }
  }
}

/** Also false where the tool is missing or forbidden: the caller has a first error to tell. */
async function works(tools: Tools, run: ToolRun): Promise<boolean> {
  try {
    return (await tools.try(run)).ok;
  } catch {
    return false;
  }
}

function checkedName(name: string): string {
  if (!NAME.test(name)) throw failure('TUNNEL_FAILED', 'this is no name of an interface', { details: { name } });
  return name;
}
