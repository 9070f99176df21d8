/**
 * Where this machine keeps things: in `MOAT_HOME`, else where the agent and the gateway put them by default.
 * The rules are theirs (`loadNodeConfig`, `gatewayHome`), repeated so that a client need not load either.
 */
import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { isAbsolute, join, resolve } from 'node:path';

/** State of the gateway that `moat service install gateway` runs. */
const SERVICE_GATEWAY = '/var/lib/moat-gateway/gateway';

type Environment = Readonly<Record<string, string | undefined>>;

export interface Paths {
  /** Keys, database and socket of the agent; 0700. */
  readonly home: string;
  readonly agentSocket: string;
  readonly nodeKey: string;
  readonly ownerKey: string;
  /** Certificate of this publisher's authority for clients; its key is beside it. */
  readonly clientAuthority: string;
  /** Keys, database and socket of a gateway on this machine. */
  readonly gatewayHome: string;
  readonly gatewaySocket: string;
  /** State of `moat dev`, one directory for all its processes. */
  readonly dev: string;
}

export function resolvePaths(env: Environment, isRoot: boolean = process.getuid?.() === 0): Paths {
  const chosen = env['MOAT_HOME'];
  if (chosen !== undefined && chosen !== '') return pathsIn(resolve(chosen));
  const user = join(stateHome(env), 'moat');
  const service = env['STATE_DIRECTORY'];
  const paths = pathsIn(isRoot ? '/var/lib/moat' : user);
  const own = join(service === undefined || service === '' ? user : service, 'gateway');
  // Root asks the gateway that `moat service` runs, unless it has one of its own.
  const isServed = isRoot && !existsSync(own) && existsSync(SERVICE_GATEWAY);
  const gatewayHome = isServed ? SERVICE_GATEWAY : own;
  return { ...paths, gatewayHome, gatewaySocket: join(gatewayHome, 'gateway.sock'), dev: join(user, 'dev') };
}

/** The same layout under another home. */
export function pathsIn(home: string): Paths {
  const gatewayHome = join(home, 'gateway');
  return {
    home,
    agentSocket: join(home, 'agent.sock'),
    nodeKey: join(home, 'node.key'),
    ownerKey: join(home, 'owner.key'),
    clientAuthority: join(home, 'client-ca.pem'),
    gatewayHome,
    gatewaySocket: join(gatewayHome, 'gateway.sock'),
    dev: join(home, 'dev'),
  };
}

/** The XDG specification: a relative path is invalid and ignored. */
function stateHome(env: Environment): string {
  const value = env['XDG_STATE_HOME'];
  if (value !== undefined && isAbsolute(value)) return value;
  return join(env['HOME'] ?? homedir(), '.local', 'state');
}
