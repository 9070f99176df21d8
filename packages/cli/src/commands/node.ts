/** `moat node`: the agent of this machine. */
import type { LocalAddress } from '@moat/admin-api';
import type { Command } from 'commander';
import { formatDuration } from '../output/units.ts';
import { addGroup, addVerb, type VerbRunner } from '../verb.ts';
import { addExpose } from './expose.ts';
import { addNodeDns } from './node-dns.ts';

export interface NodeRunOptions {
  readonly listen: readonly string[];
  readonly announce: readonly string[];
  readonly linkPort?: string;
  readonly socksPort?: string;
  readonly anchor?: boolean;
  readonly relay?: boolean;
  readonly relayPorts?: string;
  readonly mdns: boolean;
  readonly dns: boolean;
  readonly inbound: boolean;
  readonly access?: string;
  readonly logLevel?: string;
}

export function addNode(program: Command, runner: VerbRunner): void {
  const node = addGroup(program, 'node', 'the agent of this machine', 'Join');
  addVerb<NodeRunOptions>(
    node,
    runner,
    {
      usage: 'run',
      summary: 'runs the agent in the foreground; logs go to stderr',
      examples: [
        ['moat node run', 'until Ctrl-C or SIGTERM'],
        ['moat node run --anchor', 'also lets others meet here: needs TCP ports 4410 and 4411 open, and UDP port 4410'],
        ['moat node run --no-inbound', 'accepts nothing: only dials out'],
      ],
      options: [
        { flags: '--listen <multiaddr>', text: 'where the overlay listens; repeatable', list: true },
        { flags: '--announce <multiaddr>', text: 'told to others instead; repeatable', list: true },
        { flags: '--link-port <port>', text: 'where links are accepted, 0 = any' },
        { flags: '--socks-port <port>', text: 'proxy (SOCKS5 and HTTP CONNECT) on 127.0.0.1, 0 = any, off = none' },
        { flags: '--anchor', text: 'relay for others' },
        { flags: '--relay', text: 'pass WireGuard packets on for members that find no direct way' },
        { flags: '--relay-ports <range>', text: 'UDP ports for that, such as 51830-51893; else any free ones' },
        { flags: '--no-mdns', text: 'do not look for members on the local network' },
        { flags: '--no-dns', text: 'do not answer names below .internal on a loopback address' },
        { flags: '--no-inbound', text: 'open no port, only dial out' },
        {
          flags: '--access <how>',
          text: 'loopback: every user here reaches granted services; private: only Unix sockets and a proxy with a password',
        },
        { flags: '--log-level <level>', text: 'trace, debug, info, warn or error' },
      ],
    },
    async (context, _, options) => {
      const { runNodeProcess } = await import('../process/run-node.ts');
      await runNodeProcess(context, options);
      return { kind: 'node-run', data: {}, silent: true };
    },
  );
  addVerb<object>(
    node,
    runner,
    {
      usage: 'status',
      summary: 'whether the agent runs, and as whom; exit code 8 when it does not',
      orDev: true,
      examples: [['moat node status', 'identity, addresses, memory']],
    },
    async ({ agent, style }) => {
      const status = await agent.status();
      return {
        kind: 'node-status',
        data: status,
        text: [
          `${style.ok} running  pid ${status.pid}, up ${formatDuration(status.uptimeMs)}, Moat ${status.agentVersion}, ${Math.round(status.rssBytes / 1024 / 1024)} MiB`,
          `  ${style.dim('Identity ')}  ${status.peerId}`,
          `  ${style.dim('Addresses')}  ${status.addresses.join('\n             ') || 'none: dials out only'}`,
          `  ${style.dim('Proxy    ')}  ${placeText(status.socks)}${status.proxyPasswordFile === null ? '' : `, user moat, password in ${status.proxyPasswordFile}`}`,
          `  ${style.dim('DNS      ')}  ${placeText(status.dns)}`,
          `  ${style.dim('State    ')}  ${status.stateDir}`,
          ...status.warnings.map((warning) => `${style.attention} ${warning.message}  ${style.dim(warning.code)}`),
        ].join('\n'),
      };
    },
  );
  addVerb<object>(
    node,
    runner,
    {
      usage: 'stop',
      summary: 'stops the agent in order',
      examples: [['moat node stop', 'streams end, state is kept']],
    },
    async ({ agent, style }) => {
      await agent.stop();
      return { kind: 'node-stopped', data: {}, text: `${style.ok} the agent stops` };
    },
  );
  addVerb<object>(
    node,
    runner,
    {
      usage: 'rotate-key',
      summary: 'makes the next key of this machine; it takes over when the owners name it',
      examples: [['moat node rotate-key', 'prints the lines for moat.yaml; run it again to see them again']],
    },
    async ({ agent, style }) => {
      const rotation = await agent.rotateKey();
      const lines = rotation.places.map(
        ({ name, member }) => `  ${name}:  members: { ${member}: { node: ${rotation.next} } }`,
      );
      return {
        kind: 'node-key-rotation',
        data: rotation,
        text: [
          `${style.ok} the next key of this machine is ${rotation.next}`,
          ...(lines.length === 0
            ? ['This machine has no place in any network: it takes over once a network names it.']
            : ['Its owners write into moat.yaml and apply, in every network:', ...lines]),
          style.dim(
            'The agent changes over by itself and destroys the old key; the old PeerId is refused from then on.',
          ),
        ].join('\n'),
      };
    },
  );
  addExpose(node, runner);
  addNodeDns(node, runner);
}

function placeText(place: LocalAddress | null): string {
  return place === null ? 'none' : `${place.host}:${place.port}`;
}
