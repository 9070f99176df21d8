/** The agent in this process. A file of its own: loading it loads the whole agent. */
import { MoatError } from '@moat/core';
import { loadNodeConfig, runNode, type NodeConfigInput, type NodeReady } from '@moat/node';
import type { NodeRunOptions } from '../commands/node.ts';
import type { Context } from '../context.ts';
import type { Style } from '../output/style.ts';
import { ServiceManager } from '../service/notify.ts';

/** Runs until Ctrl-C or `POST /stop`. @throws `CONFIG_INVALID`, `STATE_LOCKED` and the other codes of starting */
export async function runNodeProcess(context: Context, options: NodeRunOptions): Promise<void> {
  const { io, style } = context;
  const config = await loadNodeConfig({ flags: flagsOf(options), env: io.env });
  using manager = new ServiceManager(io.env);
  io.signal.addEventListener('abort', () => manager.stopping(), { once: true });
  await runNode(config, {
    signal: io.signal,
    onReady: (ready) => {
      manager.ready(`agent ${ready.peerId}`);
      const lines = [`${style.ok} agent ${style.bold(ready.peerId)} is ready`, accessLine(ready, style)];
      const text = context.json ? JSON.stringify({ kind: 'ready', version: 1, data: ready }) : lines.join('\n');
      io.stdout.write(`${text}\n`);
    },
  });
}

/** Who on this machine reaches what it may reach, and why. */
function accessLine({ access, proxyPasswordFile }: NodeReady, style: Style): string {
  if (access === 'loopback') {
    return `${style.attention} every user of this machine reaches the granted services; ${style.dim('--access private closes that')}`;
  }
  const proxy = proxyPasswordFile === null ? '' : `, and the proxy with the password in ${proxyPasswordFile}`;
  return `${style.ok} private: only Unix sockets (moat forward)${proxy}`;
}

function flagsOf(options: NodeRunOptions): NodeConfigInput {
  return {
    listen: options.listen.length === 0 ? undefined : options.listen,
    announce: options.announce.length === 0 ? undefined : options.announce,
    linkPort: portOf('--link-port', options.linkPort),
    socksPort: portOf('--socks-port', options.socksPort),
    anchor: options.anchor,
    relay: options.relay,
    relayPorts: options.relayPorts,
    // Only a flag that was given overrides files and environment.
    mdns: options.mdns ? undefined : false,
    dns: options.dns ? undefined : false,
    inbound: options.inbound ? undefined : false,
    access: options.access as NodeConfigInput['access'],
    logLevel: options.logLevel as NodeConfigInput['logLevel'],
  };
}

function portOf(flag: string, text: string | undefined): number | null | undefined {
  if (text === undefined) return undefined;
  if (text === 'off') return null;
  if (/^\d{1,5}$/.test(text)) return Number(text);
  throw new MoatError('USAGE', `${flag} ${text} is no port`, { next: [`${flag} 4411`, `${flag} 0`, `${flag} off`] });
}
