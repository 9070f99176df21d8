/**
 * One contract with many members (500 in the long form, 50 in the short one): how long until all have a new version in
 * force, how fast one is cut off, and what that costs the anchor. The members are real agents, dozens to a process.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createAgentClient } from '@moat/admin-api';
import { stringify } from 'yaml';
import { Machine, eventually, full, type Daemon } from '../e2e/machine.ts';
import { Crowd } from './crowd.ts';
import { Internet, labSkip } from './internet.ts';
import { pictured } from './picture.ts';

const MEMBERS = full ? 500 : 50;
/** Machines behind one address: an anchor gives places to 64 of one. */
const PER_ADDRESS = 50;
const ROUNDS = full ? 5 : 3;
const PORT = 4410;
/**
 * Milliseconds until 99 of 100 have a version in force, one that takes a member out too: revoked.test.ts holds 50 members
 * to 2 s. The short form runs where others run too, at half the speed now and then: it gets twice as long, and says what
 * it took.
 */
const APPLIED_MS = full ? 5000 : 10_000;
/** Kernel ticks a second in /proc/PID/stat. */
const TICKS = 100;
/** Ticks of a second that all agents together use once nobody joins any more. */
const CALM_TICKS = 40;

suite(`${MEMBERS} members in one contract`, { skip: labSkip() }, () => {
  let internet: Internet;
  const machines = new Map<string, { readonly machine: Machine; readonly daemon: Daemon }>();
  const crowds: Crowd[] = [];
  const members: Record<string, object> = {};
  /** When each version was in force on the machine that applied it. */
  const accepted = new Map<number, number>();
  const stopping = new AbortController();
  let anchor = '';
  let version = 0;

  before(async () => {
    internet = new Internet();
    for (const [i, name] of ['anchor', 'owner', 'keeper'].entries()) {
      const host = internet.addHost(name, { address: i + 1 });
      const machine = await Machine.create(name, { namespace: internet.namespace(name) });
      const flags = ['--no-mdns', '--listen', `/ip4/${host}/tcp/${PORT}`, '--link-port', '4411'];
      const daemon = await machine.startAgent([...flags, ...(name === 'anchor' ? ['--anchor'] : [])]);
      machines.set(name, { machine, daemon });
      const { peerId } = await clientOf(name).status();
      if (name === 'anchor') anchor = `/ip4/${host}/tcp/${PORT}/p2p/${peerId}`;
      else members[name] = { node: peerId, keeper: true };
    }
    for (let i = 0; i < MEMBERS / PER_ADDRESS; i++) {
      internet.addHost(`crowd-${i}`);
      const crowd = await Crowd.start(internet.namespace(`crowd-${i}`), PER_ADDRESS);
      crowds.push(crowd);
      for (const [j, node] of (await crowd.peers()).entries()) members[`m-${i}-${j}`] = { node };
    }
    await machineOf('owner').ok(['key', 'new', '--plain']);
    void followOwner();
    await apply({});
    const { json } = await machineOf('owner').ok(['invite', '--locator']);
    const token = String(json['token']);
    await machineOf('keeper').ok(['join', '-', '--wait'], token);
    for (const crowd of crowds) await crowd.join(token);
    await eventually('what joins left to do is done', isCalm, 60_000);
  });

  after(async () => {
    stopping.abort();
    for (const crowd of crowds) await crowd[Symbol.asyncDispose]();
    for (const { machine } of machines.values()) await machine[Symbol.asyncDispose]();
    internet[Symbol.dispose]();
  });

  test('apply: all have it in force', (t) =>
    pictured(internet, 'apply', async () => {
      const before = await anchorTicks();
      const since = Date.now();
      for (let round = 0; round < ROUNDS; round++) {
        const began = await apply({ [`s-${round}`]: { on: ['owner'], port: 80 + round, target: '127.0.0.1:3000' } });
        const times = (await applied()).map((at) => at - began).toSorted((a, b) => a - b);
        const p99 = times[Math.ceil(times.length * 0.99) - 1] ?? Infinity;
        const p50 = times[Math.floor(times.length / 2)];
        const took = (accepted.get(version) ?? 0) - began;
        t.diagnostic(`version ${version}: p50 ${p50} ms, p99 ${p99} ms, of these ${took} ms at the owner`);
        assert.ok(p99 < APPLIED_MS, `p99 ${p99} ms`);
      }
      await anchorCost('while versions were applied', before, since).then((text) => t.diagnostic(text));
    }));

  test('a member that is taken out is known to all in time', (t) =>
    pictured(internet, 'revoke', async () => {
      delete members['m-0-0'];
      const [first] = crowds;
      await apply({});
      const times = (await applied(first)).map((at) => at - (accepted.get(version) ?? 0));
      const last = Math.max(...times);
      t.diagnostic(`the last of ${times.length} after ${last} ms`);
      assert.ok(last < APPLIED_MS, `${last} ms`);
    }));

  test('what the anchor needs while nothing happens', async (t) => {
    const before = await anchorTicks();
    const since = Date.now();
    await delay(full ? 60_000 : 2_000);
    t.diagnostic(await anchorCost('while nothing happened', before, since));
    for (const crowd of crowds.slice(0, 1)) {
      t.diagnostic(`a member: ${((await crowd.residentBytes()) / 2 ** 20 / crowd.size).toFixed(1)} MiB`);
    }
  });

  function machineOf(name: string): Machine {
    const { machine } = machines.get(name) ?? {};
    if (machine === undefined) throw new Error(`no machine ${name}`);
    return machine;
  }

  const clientOf = (name: string): ReturnType<typeof createAgentClient> =>
    createAgentClient({ socketPath: machineOf(name).path('state', 'agent.sock') });

  /** Writes the next version and applies it; resolves to the time at which the command began. */
  async function apply(services: Readonly<Record<string, object>>): Promise<number> {
    const file = { version: 1, name: 'crowd', anchors: [anchor], members, services, access: [] };
    await machineOf('owner').write('moat.yaml', stringify(file));
    const began = Date.now();
    await machineOf('owner').ok(['apply', '--yes']);
    const [own] = await clientOf('owner').deployments();
    version = own?.version ?? -1;
    return began;
  }

  async function followOwner(): Promise<void> {
    for await (const event of clientOf('owner').events(stopping.signal)) {
      if (event.kind === 'version') accepted.set(event.version, Date.now());
    }
  }

  /** When each member had the newest version in force; of `without` the first machine has left. */
  async function applied(without?: Crowd): Promise<readonly number[]> {
    const all = crowds.map((crowd) => crowd.applied(version, crowd === without ? 1 : 0));
    return (await Promise.all(all)).flat();
  }

  const anchorTicks = (): Promise<number> => ticksOf(machines.get('anchor')?.daemon.pid);

  /** Of all agents: whether they did next to nothing for a second. */
  async function isCalm(): Promise<boolean> {
    const pids = [...crowds.map(({ pid }) => pid), ...[...machines.values()].map(({ daemon }) => daemon.pid)];
    const all = async (): Promise<number> => (await Promise.all(pids.map(ticksOf))).reduce((sum, one) => sum + one, 0);
    const before = await all();
    await delay(1000);
    return (await all()) - before < CALM_TICKS;
  }

  async function anchorCost(what: string, before: number, since: number): Promise<string> {
    const seconds = (Date.now() - since) / 1000;
    const share = ((await anchorTicks()) - before) / TICKS / seconds;
    const mib = ((await machines.get('anchor')?.daemon.residentBytes()) ?? 0) / 2 ** 20;
    return `the anchor ${what}: ${(share * 100).toFixed(1)} % of a core, ${mib.toFixed(0)} MiB`;
  }
});

async function ticksOf(pid: number | undefined): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}
