/**
 * What to do next, for codes that are raised where no command is known: deep in the agent, or in a library.
 * Used only when the error itself says nothing.
 */

const REMEDIES: Readonly<Record<string, readonly string[]>> = {
  CERTIFICATE_INVALID: ['check the paths under tls: in gateway.yaml, and that this user may read them'],
  CODE_INVALID: [
    'ask the operator of the gateway for a new one',
    'moat gateway invite --out code.txt   makes it, on their side',
  ],
  COMMAND_NOT_FOUND: ['check its name and PATH'],
  CONFIG_INVALID: ['moat node run --help   shows what each setting may be'],
  DEPLOYMENT_ENDED: ['moat init   begins another network'],
  DISK_FULL: ['free some space, then run the command again; what was acknowledged is kept'],
  EXPOSED_UNKNOWN: ['moat node expose   lists what is exposed'],
  FILE_MISSING: ['check the path'],
  FILE_UNREADABLE: ['check the path, and that you may read and write it'],
  FORWARD_INVALID: ['moat forward SERVICE --local 5432', 'moat forward SERVICE --local unix:./service.sock'],
  FORWARD_UNKNOWN: ['moat forward   lists them with their ids'],
  GATEWAY_CONFIG_INVALID: ['correct the lines named, then moat gateway run'],
  GRANT_DENIED: ['add a line to access: in moat.yaml, and moat apply', 'moat explain FROM TO   says what decides'],
  GRANT_EXPIRED: ['renew the line of access: in moat.yaml, and moat apply'],
  HEAD_FORKED: ['moat apply --end-fork   makes what moat.yaml says the one history'],
  INVITE_EXPIRED: ['ask an owner for a new token: moat invite MEMBER'],
  INVITE_USED: ['ask an owner for a new token: moat invite MEMBER --replace'],
  KEY_FILE_EXISTS: ['moat key show', 'or choose another file with --key FILE'],
  KEY_FILE_INVALID: ['restore it from a backup, or name another with --key FILE'],
  LISTEN_FAILED: ['moat doctor   shows which ports are taken', 'stop what uses the port, or choose another'],
  MEMBER_UNKNOWN: ['moat status   lists members and services'],
  PASSPHRASE_WRONG: ['try again; without the passphrase the key cannot be used'],
  PROPOSAL_STALE: ['moat plan', 'moat apply'],
  RECOVERY_WORDS_INVALID: ['compare each word with the paper; the last one holds a checksum'],
  SERVICE_UNKNOWN: ['moat status   lists members and services'],
  SERVICE_UNREACHABLE: [
    'moat status   shows who offers it',
    'on those machines: does the service run, and is it exposed? moat node expose',
  ],
  STATE_LOCKED: ['moat node status', 'or give this one another directory with MOAT_HOME'],
  NEEDS_WIREGUARD: ['moat wireguard up', 'moat doctor   says what it takes'],
  NETNS_UNKNOWN: ['moat wireguard up --netns PATH   with the new one', 'moat wireguard down'],
  PLANE_OFF: ['moat wireguard up'],
  TOKEN_INVALID: ['copy the whole token, or ask an owner for a new one: moat invite MEMBER --out token.txt'],
  TUNNEL_FAILED: ['moat wireguard status   says what the machine refused', 'moat doctor'],
  TUNNEL_FORBIDDEN: [
    'sudo moat node run',
    'or give the agent CAP_NET_ADMIN, and CAP_SYS_ADMIN for namespaces (systemd: AmbientCapabilities=)',
  ],
  TUNNEL_TOOL_MISSING: ['sudo apt install wireguard-tools iproute2 nftables wireguard-go', 'moat doctor'],
  VERSION_UNKNOWN: ['moat status   shows the version in force; the newest 100 can be gone back to'],
};

/** Commands and hints for `code`; empty for one that has none. */
export function remediesFor(code: string): readonly string[] {
  return REMEDIES[code] ?? [];
}
