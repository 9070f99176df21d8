/** Where this machine keeps things: `MOAT_HOME`, else systemd's directory, else the platform's for a user. */
import { homedir } from 'node:os';
import { join } from 'node:path';

export interface Paths {
  /** Keys, database and socket of the agent; 0700. */
  readonly home: string;
  readonly agentSocket: string;
  readonly nodeKey: string;
  readonly ownerKey: string;
  /** Keys, database and socket of a gateway on this machine. */
  readonly gatewayHome: string;
  readonly gatewaySocket: string;
  /** State of `moat dev`, one directory for all its processes. */
  readonly dev: string;
}

export function resolvePaths(env: Readonly<Record<string, string | undefined>>): Paths {
  return pathsIn(homeOf(env));
}

/** The same layout under another home. */
export function pathsIn(home: string): Paths {
  const gatewayHome = join(home, 'gateway');
  return {
    home,
    agentSocket: join(home, 'agent.sock'),
    nodeKey: join(home, 'node.key'),
    ownerKey: join(home, 'owner.key'),
    gatewayHome,
    gatewaySocket: join(gatewayHome, 'gateway.sock'),
    dev: join(home, 'dev'),
  };
}

function homeOf(env: Readonly<Record<string, string | undefined>>): string {
  const chosen = env['MOAT_HOME'] ?? env['STATE_DIRECTORY'];
  if (chosen !== undefined && chosen !== '') return chosen;
  const user = env['HOME'] ?? homedir();
  const state = env['XDG_STATE_HOME'];
  if (state !== undefined && state !== '') return join(state, 'moat');
  return process.platform === 'darwin'
    ? join(user, 'Library', 'Application Support', 'moat')
    : join(user, '.local', 'state', 'moat');
}
