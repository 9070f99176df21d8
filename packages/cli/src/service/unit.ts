/**
 * The systemd units, hardened as far as what the processes do allows. `MemoryDenyWriteExecute` is not among it: V8 writes
 * machine code and runs it. `PrivateUsers`, `ProtectProc` and the like are left out where they would hide what `moat doctor` looks at.
 */

export const SERVICES = ['node', 'gateway'] as const;
export type ServiceName = (typeof SERVICES)[number];

export interface UnitOptions {
  /** Program and arguments in front of the verb: node with its flags, and the command's script. */
  readonly command: readonly string[];
  /** Arguments behind `run`. */
  readonly args: readonly string[];
  /** The agent may make WireGuard interfaces and namespaces. @defaultValue false */
  readonly wireguard?: boolean;
}

export function unitName(service: ServiceName): string {
  return `moat-${service}.service`;
}

/** Where a service keeps its state; the command looks there when root asks. */
export function stateOf(service: ServiceName): string {
  return service === 'node' ? '/var/lib/moat' : '/var/lib/moat-gateway';
}

/** Text of the unit file. */
export function renderUnit(service: ServiceName, { command, args, wireguard = false }: UnitOptions): string {
  const state = stateOf(service).split('/').at(-1) ?? '';
  const exec = [...command, service, 'run', ...args].map(quote).join(' ');
  // Programs of a user's own installation must stay visible.
  const home = command.some((part) => /^\/(home|root)\//.test(part)) ? 'read-only' : 'yes';
  const isGateway = service === 'gateway';
  return `# Written by moat service install ${service}; changes belong into: systemctl edit ${unitName(service)}
[Unit]
Description=${isGateway ? 'Moat gateway' : 'Moat agent'}
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
# systemd-notify speaks for the process.
NotifyAccess=all
ExecStart=${exec}
${isGateway ? 'ExecReload=/bin/kill -HUP $MAINPID\n' : ''}Environment=MOAT_HOME=/var/lib/${state}
Restart=on-failure
RestartSec=2
# Usage, configuration, refusal, missing, conflict, Node too old: a restart changes nothing.
RestartPreventExitStatus=2 3 4 5 6 69
SuccessExitStatus=143
TimeoutStartSec=120
TimeoutStopSec=20
WatchdogSec=60
${wireguard ? WIREGUARD_OUTLIVES : ''}
DynamicUser=yes
User=${state}
StateDirectory=${state}
StateDirectoryMode=0700
UMask=0077
LimitNOFILE=1048576
${capabilitiesOf(service, wireguard)}
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=${home}
PrivateTmp=yes
${wireguard ? WIREGUARD_DEVICES : 'PrivateDevices=yes'}
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
${wireguard ? '' : 'ProtectKernelTunables=yes\n'}RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
${wireguard ? 'RestrictNamespaces=net mnt' : 'RestrictNamespaces=yes'}
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service${wireguard ? ' @mount' : ''}
SystemCallErrorNumber=EPERM
# No MemoryDenyWriteExecute: V8 compiles to memory that it then runs.

[Install]
WantedBy=multi-user.target
`;
}

/** wireguard-go makes its interface of this device. */
const WIREGUARD_DEVICES = 'DevicePolicy=closed\nDeviceAllow=/dev/net/tun rw';
/** Interfaces go on while the agent does not: wireguard-go and its sockets are left alone. */
const WIREGUARD_OUTLIVES = 'KillMode=process\nRuntimeDirectory=wireguard\nRuntimeDirectoryPreserve=yes\n';

function capabilitiesOf(service: ServiceName, wireguard: boolean): string {
  const wanted = [
    ...(service === 'gateway' ? ['CAP_NET_BIND_SERVICE'] : []),
    // The second one enters and makes namespaces.
    ...(wireguard ? ['CAP_NET_ADMIN', 'CAP_SYS_ADMIN'] : []),
  ].join(' ');
  return wanted === '' ? 'CapabilityBoundingSet=' : `AmbientCapabilities=${wanted}\nCapabilityBoundingSet=${wanted}`;
}

/** One word of a command line in a unit (systemd.service(5)): quoted, with its specifiers and variables taken literally. */
function quote(word: string): string {
  const literal = word.replaceAll('%', '%%').replaceAll('$', '$$$$');
  return /^[\w@+=:,./%$-]+$/.test(literal) ? literal : `"${literal.replaceAll(/["\\]/g, '\\$&')}"`;
}
