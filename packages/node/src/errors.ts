/** Codes the agent raises or answers with. Beside each: what it means | what to do. */
export const NODE_ERROR_CODES = [
  'CONFIG_INVALID', // the configuration of the agent or the command has an unknown key or a value that does not fit | correct the line named in the message
  'STATE_LOCKED', // another agent runs with this state directory | stop it, or give this one another with MOAT_HOME
  'STATE_UNUSABLE', // the state directory or its database cannot be opened | check its owner, rights and disk; restore a backup
  'STATE_TOO_NEW', // the database was written by a newer Moat | install that version again
  'CERTIFICATE_FILE_INVALID', // a certificate of `certificates` and its key cannot be read, or do not belong together | give a pair of PEM files that fit
  'NO_GATEWAY_LINK', // no gateway that passes the name on is connected, so no proof could reach this machine | wait until `moat status` shows the name as published; it is tried again by itself
  'ORDER_RUNNING', // another member orders a certificate for the name just now | nothing to do; it is tried again by itself
  'ORDER_ENDED', // in the log of a link only: an announced order is over | nothing to do
  'DISK_FULL', // the disk is full: nothing new is taken, what runs goes on | free space; the same call works then
  'DISK_FAILED', // the disk under the state directory does not read or write | look at the system's log and the disk; a full disk is DISK_FULL
  'SOCKET_FAILED', // the local API's socket cannot be opened | check the directory's rights, or use a shorter path
  'DEPLOYMENT_UNKNOWN', // this machine holds no deployment of that id or name | see `moat status` for the ones it holds
  'DEPLOYMENT_AMBIGUOUS', // several deployments here have that name | name it by its id
  'DEPLOYMENT_EXISTS', // this machine holds that deployment already | apply a new version instead of creating it
  'VERSION_UNKNOWN', // that version is not stored here | see `moat status -d`; a machine that joined later lacks older ones
  'VERSION_CONFLICT', // a keeper has taken another version in the meantime | plan again on top of the newest version and apply that
  'PROPOSAL_UNKNOWN', // no such proposal waits at the keeper | see `moat proposals`; proposals wait for 30 days at most
  'PROPOSAL_UNSIGNED', // no owner in force has signed the proposal | sign it with an owner's key first
  'PROPOSALS_FULL', // the keeper holds as many proposals as it can, and you hold most of them | let one of them be signed, or apply a version
  'CHALLENGE_UNKNOWN', // that challenge is not waiting any more | ask for a new one and sign it within two minutes
  'OWNER_REFUSED', // the keeper does not accept the proof of an owner | check that the key is an owner's and that both clocks are right
  'OWNER_SESSION_NEEDED', // this machine is no keeper, and no owner session is open | open one with an owner's key
  'OWNER_SESSION_UNKNOWN', // no such owner session is open | nothing is left to do
  'PLACE_TAKEN', // this machine holds another place of that deployment already | use the machine as it is, or a second identity with MOAT_HOME
  'NOT_A_MEMBER', // this machine has no place in the deployment | join it with a token
  'INVITE_USED', // the invite was used by another claim | ask the owner for a new token
  'INVITE_EXPIRED', // the invite's time is over | ask the owner for a new token
  'JOIN_UNVERIFIED', // what the keeper answered does not hold against the token | ask the owner which keepers to trust; nothing was stored
  'JOIN_TIMEOUT', // the keeper was reached and the place is not there yet | ask the owner whether the newest version pins this machine
  'FORWARD_UNKNOWN', // no forward of that id | see `moat forward --list`
  'FORWARD_INVALID', // the local end of a forward is no port, loopback address or unix path | write 5432, 127.0.0.1:5432 or unix:/path
  'FORWARD_LIMIT', // the agent holds its limit of forwards | remove one
  'EXPOSED_UNKNOWN', // that target is not exposed to that deployment | see `moat node status`
  'PEER_VACANT', // no machine has taken the place yet | invite a machine to it and let it join
  'PUBLICATION_UNKNOWN', // no public name or service of that name | see `moat names`
  'NO_ANCHOR_REACHABLE', // no anchor of the network answers this machine, and no direct way leads to the other one | open a port to one of the machines, or run an anchor: moat node run --anchor on any reachable host
  'NO_ANCHOR_KNOWN', // this machine knows no anchor, so nobody can be asked about the directory | join a network that has one, or name one in directoryAnchors
  'GATEWAY_UNREACHABLE', // the gateway has not answered this machine | look at the gateway's domain and ports; the agent tries again by itself
  'PING_SELF', // the target is this machine | name another member
  'PING_TIMEOUT', // the member did not answer in time | see `moat status`; is the other machine on?
  'STALE', // no keeper has confirmed the newest version for longer than network.maxStale: nothing is opened, nothing runs | bring a keeper into reach; one confirmation restores everything
  'STALE_SOON', // a notice: half of network.maxStale has passed without a keeper's confirmation | bring a keeper into reach before the rest has passed
  'PLACE_FROZEN', // two machines hold witnessed claims on one place, so neither has it | an owner writes the next version, which decides
  'KEY_ROTATION_WAITING', // a notice: the next key of this machine waits until the owners name it | an owner writes the line that moat node rotate-key printed, and applies
  'KEEPER_SILENT', // a keeper answers this machine and does not share the network with it | ask an owner whether this machine was removed; then moat join with a new token
  'LOOPBACK_SHARED', // a notice: every user of this machine reaches the granted services | set access: private where users do not trust each other
  'PUBLISH_TIMEOUT', // the gateway did not answer in time | look at the gateway; the agent tries again by itself
  'DNS_SETUP_UNKNOWN', // how this machine resolves names is not recognised, so nothing was changed | send names below .internal to the agent's DNS by hand, or use moat run
  'DNS_SETUP_FAILED', // the system's resolver could not be changed; what was begun is undone | do it as root; look at the cause
  'DNS_PORT_SHIFTED', // the agent's DNS has no port 53, and /etc/resolv.conf knows no other | run the agent as root, or allow it port 53
  'DNS_OFF', // the agent answers no names: switched off, private, or its address is taken | moat node status, and the agent's log
  'WIREGUARD_KEY_UNKNOWN', // the contract names a WireGuard key for this place that this machine does not hold | moat wireguard rotate-key, then an owner applies
  'WIREGUARD_OFF', // a notice: the owners want WireGuard in this network, and its interface does not stand on this machine | moat wireguard up
  'FORWARDING_OFF', // a notice: the contract leads packets through this machine, and its kernel forwards none | sysctl -w net.ipv4.ip_forward=1, and where IPv6 is used net.ipv6.conf.all.forwarding=1
  'EGRESS_NEEDS_NETNS', // a notice: an egress line lets this member leave to the internet, and the network stands where the whole machine would leave with it | moat wireguard up --netns NAME
  'PLANE_ROOTLESS', // the owners want no WireGuard in this network: network.plane is rootless | write plane: auto into moat.yaml and apply
  'WIREGUARD_PORT_TAKEN', // the UDP port for the WireGuard interface is in use, or no port is free | moat wireguard up --port N with another
  'RANGE_TAKEN', // the network's addresses are taken on this machine, and nothing of that size is free beside them | moat wireguard up --netns NAME
  'NETNS_UNKNOWN', // there is no network namespace at that path | name one that exists; a container that was started anew has another
  'AGENT_STOPPING', // the agent is going down | start it again
] as const;
export type NodeErrorCode = (typeof NODE_ERROR_CODES)[number];
