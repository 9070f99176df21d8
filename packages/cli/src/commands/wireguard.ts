/** `moat wireguard`: the WireGuard interface of a network on this machine. */
import type { WireguardPeer, WireguardStatus } from '@moat/admin-api';
import { MoatError } from '@moat/core';
import type { Command } from 'commander';
import type { Context } from '../context.ts';
import { NETWORK_OPTION, selectDeployment, selectDeployments } from '../deployment/select.ts';
import { planePathText } from '../output/plane-path.ts';
import type { Style } from '../output/style.ts';
import { renderTable } from '../output/table.ts';
import { formatBytes, formatDuration } from '../output/units.ts';
import { addGroup, addVerb, type VerbRunner } from '../verb.ts';
import { addWireguardExport } from './wireguard-export.ts';

interface NetworkOptions {
  readonly network?: string;
}

interface UpOptions extends NetworkOptions {
  readonly netns?: string;
  readonly port?: string;
}

export function addWireguard(program: Command, runner: VerbRunner): void {
  const wireguard = addGroup(program, 'wireguard', 'a network as a WireGuard interface of this machine', 'Use');
  addUp(wireguard, runner);
  addDown(wireguard, runner);
  addWireguardExport(wireguard, runner);
  addVerb<NetworkOptions>(
    wireguard,
    runner,
    {
      usage: 'status',
      summary: 'interface, key, and for each peer the way its packets go',
      orDev: true,
      examples: [
        ['moat wireguard status', 'who is reached how, and why not directly'],
        ['moat wireguard status --json', 'for programs'],
      ],
      options: [NETWORK_OPTION],
    },
    async (context, _, options) => {
      const networks: WireguardStatus[] = [];
      for (const { id } of await selectDeployments(context.agent, options.network)) {
        networks.push(await context.agent.wireguard(id));
      }
      const text = networks.map((status) => renderStatus(context, status)).join('\n\n');
      return { kind: 'wireguard-status', data: { networks }, text };
    },
  );
  addVerb<NetworkOptions>(
    wireguard,
    runner,
    {
      usage: 'rotate-key',
      summary: 'makes the next WireGuard key of this machine; it takes over with the owners’ next version',
      examples: [['moat wireguard rotate-key', 'run it again to see whether it is in force']],
      options: [NETWORK_OPTION],
    },
    async (context, _, options) => {
      const id = await selectDeployment(context.agent, options.network);
      const telling = context.agent.wireguardRotateKey(id, { signal: context.io.signal });
      const status = await context.progress.during('telling a keeper', telling);
      return { kind: 'wireguard-key-rotation', data: status, text: renderRotation(context, status) };
    },
  );
}

function addUp(wireguard: Command, runner: VerbRunner): void {
  addVerb<UpOptions>(
    wireguard,
    runner,
    {
      usage: 'up',
      summary: 'gives a network an interface on this machine, now and after every restart',
      examples: [
        ['moat wireguard up', 'any protocol to any granted service, by its address and name'],
        ['moat wireguard up --netns web', 'in a namespace of its own: nothing there but this network'],
        ['moat wireguard up --netns /proc/4711/ns/net', 'in the namespace of a running container'],
        ['moat wireguard up --netns 4711', 'the same, by a process of it'],
      ],
      options: [
        {
          flags: '--netns <where>',
          text: 'network namespace: a name (made if there is none), a path, or a process id',
        },
        { flags: '--port <port>', text: 'UDP port; the first free one from 51820 by default' },
        NETWORK_OPTION,
      ],
    },
    async (context, _, options) => {
      const { agent, progress, io } = context;
      const id = await selectDeployment(agent, options.network);
      const request = {
        ...(options.netns === undefined ? {} : { netns: namespaceOf(options.netns) }),
        ...(options.port === undefined ? {} : { port: portOf(options.port) }),
      };
      const status = await progress.during(
        'bringing the interface up',
        agent.wireguardUp(id, request, { signal: io.signal }),
      );
      return { kind: 'wireguard-up', data: status, text: renderUp(context, status) };
    },
  );
}

function addDown(wireguard: Command, runner: VerbRunner): void {
  addVerb<NetworkOptions>(
    wireguard,
    runner,
    {
      usage: 'down',
      summary: 'takes the interface away, for good; services are reached by links again',
      examples: [['moat wireguard down', 'also deletes a namespace that up made']],
      options: [NETWORK_OPTION],
    },
    async (context, _, options) => {
      const { agent, progress, io, style } = context;
      const id = await selectDeployment(agent, options.network);
      await progress.during('taking the interface away', agent.wireguardDown(id, { signal: io.signal }));
      return { kind: 'wireguard-down', data: { deployment: id }, text: `${style.ok} the interface is gone` };
    },
  );
}

/** A process id stands for the namespace it is in. */
function namespaceOf(text: string): string {
  return /^\d+$/.test(text) ? `/proc/${text}/ns/net` : text;
}

function portOf(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port >= 1 && port <= 65_535) return port;
  throw new MoatError('USAGE', `--port ${text} is not a number from 1 to 65535`);
}

function renderUp(context: Context, status: WireguardStatus): string {
  const { style } = context;
  const { name, interface: device, netns, key, peers } = status;
  return [
    `${style.ok} ${style.bold(name)} is on ${device ?? 'no interface'}${netns === null ? '' : ` in ${netns}`}, ${status.addresses.join(' and ')}`,
    ...renderRange(status, style),
    ...(key.public === null ? [renderKeyless(status, style)] : []),
    `  ${style.dim('Peers')}  ${peers.length === 0 ? 'none with a WireGuard key and a grant yet' : peers.map(({ member }) => member).join(', ')}`,
    ...(netns === null ? [] : [`  ${style.dim('Next ')}  moat run --as ${status.member ?? ''} -- CMD`]),
  ].join('\n');
}

function renderStatus(context: Context, status: WireguardStatus): string {
  const { style, io } = context;
  const { name, member, state, interface: device, backend, netns, port, key } = status;
  if (state === 'off') {
    return [
      `${style.dim('·')} ${style.bold(name)} has no interface on this machine`,
      `  ${style.dim('Next')}  moat wireguard up --network ${name}`,
    ].join('\n');
  }
  const mark = state === 'up' ? style.ok : state === 'failed' ? style.fail : style.attention;
  const where = [backend, port === null ? undefined : `port ${port}`, netns === null ? undefined : `in ${netns}`];
  return [
    `${mark} ${style.bold(name)}  ${device ?? 'no interface'} ${STATES[state]}  ${where.filter((each) => each !== undefined && each !== null).join(', ')}  this machine is ${member ?? 'no member'}`,
    ...renderError(status, style),
    `  ${style.dim('Addresses')}  ${status.addresses.join('  ') || 'none'}`,
    ...renderRange(status, style),
    `  ${style.dim('Key')}        ${key.public ?? 'none yet'}`,
    ...(key.public === null ? [renderKeyless(status, style)] : []),
    ...(key.next === null ? [] : [renderNext(status, style)]),
    ...status.unserved.map(
      ({ service, reason }) =>
        `  ${style.attention} ${service} is not served on the interface: ${UNSERVED[reason] ?? reason}`,
    ),
    ...status.warnings.map(({ code, message }) => `  ${style.attention} ${message}  ${style.dim(code)}`),
    renderPeers(status, style, io.now(), io.stdout.columns),
  ].join('\n');
}

const STATES: Readonly<Record<WireguardStatus['state'], string>> = {
  off: 'off',
  starting: 'starts',
  up: 'up',
  closed: 'closed',
  failed: 'not in line',
};

const UNSERVED: Readonly<Record<string, string>> = {
  NOT_EXPOSED: 'its target is not exposed here (moat node expose)',
  TARGET_NAMED: 'its target is a name, and packets need an address',
  TARGET_LOOPBACK6: 'its target is ::1, where packets cannot be sent on to; 127.0.0.1 works',
  PORT_TAKEN: 'another service of this machine has its port',
};

function renderError({ error }: WireguardStatus, style: Style): string[] {
  if (error === null) return [];
  return [
    `  ${style.fail} ${error.message}  ${style.dim(error.code)}`,
    ...error.next.map((line) => `      ${style.dim('Next')}  ${line}`),
  ];
}

function renderRange({ remap }: WireguardStatus, style: Style): string[] {
  if (remap === null) return [];
  return [`  ${style.attention} ${remap.network} is taken on this machine: here the network is ${remap.as}`];
}

function renderKeyless({ member }: WireguardStatus, style: Style): string {
  return `  ${style.attention} no keeper knows the key of ${member ?? 'this machine'} yet: it is told as soon as one is in reach`;
}

function renderNext({ key }: WireguardStatus, style: Style): string {
  const state = key.told ? 'waits until an owner runs moat apply' : 'no keeper has heard of it yet';
  return `  ${style.attention} next key ${key.next ?? ''}: ${state}`;
}

function renderRotation({ style }: Context, { key }: WireguardStatus): string {
  if (key.next === null) return `${style.ok} the key in force is ${key.public ?? 'none'}`;
  return [
    `${style.ok} the next WireGuard key of this machine is ${key.next}`,
    key.told
      ? 'A keeper has witnessed it. An owner takes it over with: moat apply'
      : 'No keeper is in reach: it is told as soon as one is.',
    style.dim('With that version all machines change over by themselves; a connection pauses for one handshake.'),
  ].join('\n');
}

function renderPeers({ peers }: WireguardStatus, style: Style, now: number, width: number | undefined): string {
  if (peers.length === 0) return `  ${style.dim('no peers: nobody with a WireGuard key and a grant')}`;
  const isPostQuantum = peers.some(({ presharedKey }) => presharedKey !== 'none');
  const rows = peers.map((peer) => [
    `${peer.path === 'direct' ? style.ok : style.dim('·')} ${peer.member}`,
    peer.addresses[0] ?? '',
    pathText(peer),
    peer.endpoint ?? '',
    peer.handshakeAt === null ? 'never' : `${formatDuration(Math.max(0, now - Date.parse(peer.handshakeAt)))} ago`,
    `${formatBytes(peer.received)} / ${formatBytes(peer.sent)}`,
    ...(isPostQuantum ? [POST_QUANTUM[peer.presharedKey]] : []),
  ]);
  const head = [
    'PEER',
    'ADDRESS',
    'PATH',
    'ENDPOINT',
    'HANDSHAKE',
    'RECEIVED / SENT',
    ...(isPostQuantum ? ['POST-QUANTUM'] : []),
  ].map(style.dim);
  return renderTable([head, ...rows], {
    indent: 2,
    notes: [undefined, ...peers.map(({ reason, path }) => (path === 'asleep' ? undefined : reason?.text))],
    ...(width === undefined ? {} : { width }),
  });
}

const POST_QUANTUM: Readonly<Record<WireguardPeer['presharedKey'], string>> = {
  none: 'not yet',
  seed: 'since before the agent began',
  pq: 'yes',
};

function pathText({ path, over, forwarder, peer }: WireguardPeer): string {
  if (peer === null) return 'device';
  return path === null ? '' : planePathText({ path, over, forwarder });
}
