/** The command lines of dev's processes: this very Moat, from sources or built, with the same Node. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Io } from '../io.ts';
import { PARENT_VARIABLE } from '../process/parent.ts';
import type { DevLayout } from './layout.ts';
import type { Ports } from './ports.ts';
import type { ProcessSpec } from './supervisor.ts';

const FROM_SOURCES = import.meta.url.endsWith('.ts');
const MAIN = fileURLToPath(new URL(FROM_SOURCES ? '../main.ts' : '../main.js', import.meta.url));

const END_WITH_PARENT = FROM_SOURCES
  ? new URL('../process/end-with-parent.ts', import.meta.url).href
  : new URL('../process/end-with-parent.js', import.meta.url).href;

/** Arguments of Node for `moat …args`. */
function moat(...args: string[]): string[] {
  return [
    ...(FROM_SOURCES ? ['--conditions=@moat/source'] : []),
    '--disable-warning=ExperimentalWarning',
    MAIN,
    ...args,
  ];
}

/** Our environment without what steers a Moat of the user's own. */
function environment(io: Io, home: string, extra: Record<string, string> = {}): Record<string, string | undefined> {
  const kept = Object.entries(io.env).filter(([name]) => !name.startsWith('MOAT_') || name === 'MOAT_LOG_LEVEL');
  return { ...Object.fromEntries(kept), MOAT_HOME: home, [PARENT_VARIABLE]: String(process.pid), ...extra };
}

export function gatewayProgram(io: Io, layout: DevLayout): ProcessSpec {
  return {
    name: 'gateway',
    level: 0,
    args: moat('gateway', 'run', '--config', layout.gatewayConfig, '--json'),
    env: environment(io, layout.gateway.home),
  };
}

export function agentProgram(io: Io, layout: DevLayout, member: 'web' | 'db', ports: Ports): ProcessSpec {
  const overlay = member === 'web' ? ports.webOverlay : ports.dbOverlay;
  const link = member === 'web' ? ports.webLink : ports.dbLink;
  const listen = `/ip4/127.0.0.1/tcp/${overlay}`;
  const flags = ['--no-mdns', '--listen', listen, '--link-port', String(link), '--socks-port', '0', '--json'];
  return {
    name: `${member}-1`,
    level: 1,
    args: moat('node', 'run', ...flags),
    // Only this machine dials in.
    env: environment(io, layout[member].home, { MOAT_LINK_HOST: '127.0.0.1' }),
  };
}

export function databaseProgram(io: Io, layout: DevLayout, example: string, ports: Ports): ProcessSpec {
  const extra = { DB_FILE: layout.journal, PORT: String(ports.dbService) };
  return {
    name: 'db',
    level: 2,
    args: ['--import', END_WITH_PARENT, join(example, 'src/db.ts')],
    env: environment(io, layout.db.home, extra),
  };
}

export function webProgram(io: Io, layout: DevLayout, example: string, network: string, ports: Ports): ProcessSpec {
  return {
    name: 'web',
    level: 2,
    args: moat('run', '--network', network, '--', process.execPath, join(example, 'src/web.ts')),
    env: environment(io, layout.web.home, { PORT: String(ports.webService) }),
  };
}
