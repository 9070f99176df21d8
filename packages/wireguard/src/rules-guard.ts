/**
 * Puts a table back that another program took away: `nft flush ruleset`, as the reload of many a firewall does it, would
 * otherwise leave an interface open until the next apply.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { linkDown } from './ip.ts';
import type { Place } from './namespace.ts';
import { parseNftMarks, showMarks } from './nft.ts';
import type { ToolRun, Tools } from './tool.ts';

export interface RulesGuardDeps {
  readonly tools: Tools;
  /** Runs when nothing else runs for an interface. */
  readonly inTurn: (name: string, work: () => Promise<void>) => Promise<void>;
}

interface Held {
  readonly place: Place;
  /** Writes the table. */
  readonly run: ToolRun;
}

/** Of a line that does not end; nft prints some hundred bytes an event. */
const MAX_LINE = 65_536;
/** Milliseconds until a watch that ended is begun again. */
const AGAIN_MS = 1_000;

/** One `nft monitor` for each namespace with a table of ours; it ends with this process, however that ends. */
export class RulesGuard {
  readonly #deps: RulesGuardDeps;
  /** One for each interface that was applied here. */
  readonly #held = new Map<string, Held>();
  readonly #watches = new Map<string, ChildProcess>();
  /** Tables that went and were not looked for since. */
  readonly #doubtful = new Set<string>();

  constructor(deps: RulesGuardDeps) {
    this.#deps = deps;
  }

  /** From now on the table `name` is what `run` writes. */
  hold(name: string, place: Place, run: ToolRun): void {
    this.release(name, place);
    this.#held.set(name, { place, run });
    if (!this.#watches.has(place.id)) this.#watch(place);
  }

  /** Somebody looks for the table from now on: what went before, as with each transaction of ours, needs no second look. */
  looks(name: string): void {
    this.#doubtful.delete(name);
  }

  /** The table is no longer ours to hold; not where it is held at `unless`. */
  release(name: string, unless?: Place): void {
    const held = this.#held.get(name);
    if (!held || held.place.id === unless?.id) return;
    this.#held.delete(name);
    const { id } = held.place;
    if ([...this.#held.values()].some(({ place }) => place.id === id)) return;
    this.#watches.get(id)?.kill('SIGKILL');
    this.#watches.delete(id);
  }

  #watch(place: Place): void {
    const inside = place.path === null ? [] : ['nsenter', `--net=${place.path}`, '--'];
    const args = ['--pdeathsig', 'KILL', ...inside, 'nft', '-j', 'monitor', 'destroy', 'tables'];
    const child = spawn('setpriv', args, {
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' },
    });
    this.#watches.set(place.id, child);
    child.unref();
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = `${rest}${text}`.split('\n');
      rest = (lines.pop() ?? '').slice(0, MAX_LINE);
      for (const [name, held] of this.#held) {
        if (held.place.id === place.id && lines.some((line) => line.includes(`"${name}"`))) this.#check(name);
      }
    });
    if ('unref' in child.stdout && typeof child.stdout.unref === 'function') child.stdout.unref();
    const end = (): void => {
      if (this.#watches.get(place.id) !== child) return;
      // It stays in the map until another takes its place: one at a time.
      setTimeout(() => {
        if (this.#watches.get(place.id) !== child) return;
        this.#watch(place);
        // What was not seen meanwhile is looked for now.
        for (const [name, held] of this.#held) if (held.place.id === place.id) this.#check(name);
      }, AGAIN_MS).unref();
    };
    child.once('error', end);
    child.once('exit', end);
  }

  /** Our own transactions take the table away too, and put another in its place: what stands then decides. */
  #check(name: string): void {
    const { tools, inTurn } = this.#deps;
    this.#doubtful.add(name);
    const work = async (): Promise<void> => {
      const held = this.#held.get(name);
      if (!held || !this.#doubtful.delete(name)) return;
      try {
        const marks = parseNftMarks(await tools.run(showMarks(held.place.path)));
        if ((marks.get(name) ?? null) === null) await tools.run(held.run);
      } catch {
        // Without rules all would come in: the next apply brings it up again, when there are some.
        await tools.try(linkDown(name, held.place.path));
      }
    };
    // Nobody waits for this: an apply that fails the same way says why.
    inTurn(name, work).catch(() => undefined);
  }
}
