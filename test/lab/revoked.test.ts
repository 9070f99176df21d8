/**
 * A member that is taken out of a network of many (50 in the long form, 4 in the short one), each with an interface on
 * wireguard-go and a grant to each: how long its packets still arrive, and until it is nobody's peer. Its own agent is
 * dead and its rules are gone, so what ends it is what the others do.
 */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { after, before, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { READY_MS, eventually, full, within } from '../e2e/machine.ts';
import type { Capture } from './capture.ts';
import { labSkip } from './internet.ts';
import { pictured } from './picture.ts';
import { ECHO, TunnelWorld, type TunnelMember, DIRECT_MS } from './tunnel-world.ts';

const MEMBERS = full ? 50 : 4;
/** Others that it sends to all the time. */
const TARGETS = full ? 6 : 2;
/** Milliseconds from the version at the owner until the last of them is done with it. */
const REVOKED_MS = within(2_000);
/** Milliseconds without a packet before a line is silent. */
const SILENT_MS = full ? 1000 : 500;
/** Milliseconds between two looks at the peers of all. */
const LOOK_MS = 50;
/** Milliseconds of a tick in /proc/PID/stat. */
const TICK_MS = 10;
const STREAM = `const hosts = process.argv.slice(1);
const socket = require('node:dgram').createSocket('udp4');
socket.on('error', () => {});
setInterval(() => { for (const host of hosts) socket.send('again', ${ECHO.port}, host, () => {}); }, 10);`;

interface Ticks {
  readonly own: number;
  readonly tools: number;
}

suite(`one of ${MEMBERS} members on WireGuard is taken out`, { skip: labSkip('wg', 'wireguard-go', 'tcpdump') }, () => {
  const world = new TunnelWorld();
  const { internet } = world;
  const names = Array.from({ length: MEMBERS }, (_, i) => `m-${i}`);
  const members: Record<string, TunnelMember> = Object.fromEntries(names.map((name) => [name, {}]));
  const [gone = '', ...others] = names;
  const targets = others.slice(0, TARGETS);
  const interfaces = new Map<string, string>();
  const stopping = new AbortController();
  let stream: ChildProcess | undefined;

  before(async () => {
    await world.start({ members });
    for (const name of others) interfaces.set(name, (await world.status(name)).interface ?? '');
    for (const name of targets) {
      await eventually(
        `${gone} reaches ${name} directly`,
        async () => (await world.ask(gone, name)) === name && (await world.peer(gone, name)).path === 'direct',
        DIRECT_MS,
      );
    }
  });

  after(async () => {
    stopping.abort();
    stream?.kill('SIGKILL');
    await world[Symbol.asyncDispose]();
  });

  test('its packets stop, and it is nobody’s peer, in time', (t) =>
    pictured(internet, 'revoked', async () => {
      const { key } = await world.peer(others[0] ?? '', gone);
      const address = world.address(gone);
      for (const name of others) assert.ok((await peersOf(name)).includes(hexOf(key)), `${name} lacks it`);
      await world.place(gone).daemon.kill('SIGKILL');
      await internet.disarm(gone);
      const captures: Capture[] = [];
      for (const name of targets) {
        captures.push(await internet.capture(name, `udp dst port ${ECHO.port} and src host ${address}`));
      }
      const script = ['-e', STREAM, '--', ...targets.map((name) => world.address(name))];
      stream = spawn('ip', ['netns', 'exec', internet.namespace(gone), process.execPath, ...script]);
      for (const capture of captures) await eventually('its packets arrive', async () => capture.lines.length > 10);

      const before = await ticksOf(others);
      const accepted = acceptedAt();
      const { [gone]: _, ...rest } = members;
      const applied = world.apply({ members: rest });
      const since = await accepted;
      const listed = (await nobodysPeer(hexOf(key))) - since;
      await applied;
      for (const [i, capture] of captures.entries()) {
        await eventually(`${targets[i]} hears nothing`, async () => Date.now() - lastOf(capture) > SILENT_MS);
      }
      const cuts = captures.map((capture) => lastOf(capture) - since);
      await delay(SILENT_MS);
      const after = await ticksOf(others);
      const each = (what: keyof Ticks): string => (((after[what] - before[what]) / others.length) * TICK_MS).toFixed(0);
      t.diagnostic(
        `packets for ${cuts.map((ms) => ms.toFixed(0)).join(', ')} ms; no peer of ${others.length} after ${listed} ms`,
      );
      t.diagnostic(`a member needed ${each('own')} ms of CPU, and its tools ${each('tools')} ms`);
      for (const name of others) {
        const [device = ''] = [interfaces.get(name)];
        assert.ok(!internet.read(name, 'wg', 'show', device, 'peers').includes(key), `wg of ${name} has it`);
        const rules = internet.read(name, 'nft', 'list', 'table', 'inet', device);
        assert.ok(!rules.split(/[^0-9.]/).includes(address), `rules of ${name} have it`);
      }
      assert.ok(Math.max(...cuts) < REVOKED_MS, `cut after ${Math.max(...cuts)} ms`);
      assert.ok(listed < REVOKED_MS, `a peer for ${listed} ms`);
    }));

  /** When the owner's agent has its next version, in milliseconds since 1970. */
  async function acceptedAt(): Promise<number> {
    for await (const event of world.place('owner').client.events(stopping.signal)) {
      if (event.kind === 'version') return Date.now();
    }
    throw new Error('no version');
  }

  /** When none of the others has the key any more, in milliseconds since 1970. */
  async function nobodysPeer(hex: string): Promise<number> {
    const began = Date.now();
    let at = began;
    for (let left: readonly string[] = others; left.length > 0; await delay(LOOK_MS)) {
      // All at once: one after the other would take longer than they do.
      const has = await Promise.all(left.map(async (name) => (await peersOf(name)).includes(hex)));
      left = left.filter((_, i) => has[i]);
      at = Date.now();
      if (at - began > READY_MS) throw new Error(`still a peer of ${left.join()}`);
    }
    return at;
  }

  /** Their agents, and the tools that these ran so far, by a shell of theirs. */
  async function ticksOf(all: readonly string[]): Promise<Ticks> {
    const sum = { own: 0, tools: 0 };
    for (const name of all) {
      const { pid } = world.place(name).daemon;
      sum.own += (await statOf(String(pid))).own;
      const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8');
      for (const child of children.split(' ').filter(Boolean)) {
        // One that ended meanwhile counts with its parent.
        const { own, tools } = await statOf(child).catch(() => ({ own: 0, tools: 0 }));
        sum.tools += own + tools;
      }
    }
    return sum;
  }

  /** What `wg show` would print, without a process: dozens are asked. */
  async function peersOf(name: string): Promise<string> {
    const socket = connect(`/var/run/wireguard/${interfaces.get(name)}.sock`);
    socket.end('get=1\n\n');
    return text(socket);
  }
});

async function statOf(pid: string): Promise<Ticks> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [user = 0, system = 0, childrenUser = 0, childrenSystem = 0] = fields.slice(11, 15).map(Number);
  return { own: user + system, tools: childrenUser + childrenSystem };
}

/** As wireguard-go writes keys. */
function hexOf(key: string): string {
  return Buffer.from(key, 'base64').toString('hex');
}

/** When the last packet came, in milliseconds since 1970. */
function lastOf(capture: Capture): number {
  return Number(capture.lines.at(-1)?.split(' ')[0]) * 1000;
}
