/**
 * What can go wrong on the way between a program, the private network and a service.
 * Beside each code: meaning | remedy. Refusals by contract (`GRANT_DENIED`, `GRANT_EXPIRED`,
 * `SERVICE_UNKNOWN`, `MEMBER_UNKNOWN`, `MEMBER_EXPIRED`, `DEPLOYMENT_ENDED`) are @moat/contract's.
 */
export const NETWORK_ERROR_CODES = [
  'NOT_EXPOSED', // the member's operator did not expose the service's target to this deployment | on that machine: moat node expose PORT --to DEPLOYMENT [--public]
  'NOT_PUBLIC', // a name leads to a target that the member's operator opens to no gateway | on that machine: moat node expose PORT --to DEPLOYMENT --public
  'NOT_PUBLISHED', // a gateway opened a stream to a service that is not published at it | add a publish line for this gateway and apply
  'KIND_MISMATCH', // the stream's kind does not fit the service or publication (http to a tcp service, bytes to a udp one) | set the service's protocol in moat.yaml
  'PUBLIC_RATE', // a gateway asked under a name more often than its publisher lets it | nothing to do; the rule is rate: in moat.yaml, with enforce: member
  'PUBLIC_AUTH', // a gateway passed on a request of nobody who may come in under its name | sign in anew; the rule is auth: in moat.yaml, with enforce: member
  'PUBLIC_BUSY', // as many requests of a name run on this member as its publisher lets run at once | retry later; the rule is concurrency: in moat.yaml, with enforce: member
  'SERVICE_UNREACHABLE', // no connection to the service's target, or no instance of it could be reached | start the service; moat status shows its target and instances
  'SERVICE_PROTOCOL', // the service answered with something that is not valid HTTP of the version its protocol says | fix the service, or declare the protocol it speaks
  'SERVICE_TIMEOUT', // the service took too long to connect or to begin its answer | look at the service's load and logs
  'SERVICE_RESET', // the service closed the connection in the middle of an exchange | look at the service's logs
  'SERVICE_BUSY', // this member already holds its limit of connections to services | try again; add instances
  'REQUEST_INVALID', // a peer sent a request that cannot be written as HTTP without ambiguity | update the gateway; report it if it persists
  'REQUEST_UNREAD', // the service answered before it read the whole request, and the peer kept sending | nothing to do; the answer was delivered
  'CLIENT_RESET', // the program or client behind a stream broke its connection | nothing to do
  'TARGET_INVALID', // not HOST:PORT with a host name, IPv4 or [IPv6] and a port 1-65535 | give PORT or HOST:PORT
  'TARGET_OWN', // the target is one of Moat's own sockets | expose the service itself
  'LISTEN_FAILED', // no loopback address or local port could be opened for a service | free the port, or use moat forward with another
  'DESTINATION_REFUSED', // a program asked the proxy for something outside this private network | use SERVICE.NETWORK.internal and the service's port
  'PROXY_PROTOCOL', // a program spoke something else than SOCKS5 or HTTP CONNECT to the proxy | configure it for socks5h, or http for CONNECT
  'PROXY_PASSWORD', // the proxy has a password and the program gave none, or a wrong one | user moat, and the password from the file that moat status names
  'UPSTREAM_SILENT', // no name server answered a question about a name outside the private networks | look at the servers named by moat node dns status
  'PACKETS_REFUSED', // the other member takes no packets over a link now: its WireGuard is not up for this deployment | on that machine: moat wireguard up
  'WIREGUARD_MISSING', // packets pass only between members that have a WireGuard key, in a contract whose plane is not rootless | on both machines: moat wireguard up
  'PACKETS_INVALID', // a peer sent packets over a link that are none | update the older of the two machines
  'PACKETS_OVER', // packets need the link no more: they go another way, or nothing was sent for a while | nothing to do
  'FORWARD_REFUSED', // a member does not pass packets on for this pair: it does not know both as members that may meet, or is not reached directly | see the grants; another member with relay: true may serve
  'FORWARD_BUSY', // a member passes on packets of as many pairs as it may, or has no port left | wait; another member with relay: true may serve
  'FORWARD_OVER', // a member passes packets of this pair on no more | nothing to do: another way is looked for
  'FORWARD_INVALID', // a peer sent something that is no message about forwarding | update the older of the two machines
  'ROUTER_REFUSED', // this network's router maps no port for us | allow UPnP or NAT-PMP on the router, or open a port by hand
  'ROUTER_SILENT', // this network's router answers neither by NAT-PMP nor by UPnP | nothing to do; other ways are tried
  'ROUTER_INVALID', // this network's router answered something that is neither NAT-PMP nor UPnP | nothing to do; other ways are tried
  'NETWORK_STOPPED', // the private network on this machine is stopped or has no contract yet | moat node status
  'RUN_UNAVAILABLE', // the command could not be started in its own namespace | use the environment variables or moat forward
  'PSK_INVALID', // a member sent something that is no message about a preshared key, or has agreed on another key | update Moat on both machines
  'PATH_INVALID', // a member sent something that is no message about paths | update Moat on both machines
  'PATH_REFUSED', // a member does not agree on a path with this machine now | the member's contract may be older; otherwise it is tried again
  'PATH_TIMEOUT', // a member did not answer in time about a path | nothing to do; it is tried again
  'NEEDS_WIREGUARD', // the service takes datagrams (UDP), and this machine has no WireGuard interface for the network | moat wireguard up
  'PLANE_OFF', // the network has no WireGuard interface on this machine | moat wireguard up; moat wireguard status says what is in its way
  'NETNS_FAILED', // a network namespace of this machine could not be made, entered or looked into | run the agent as root; apt install iproute2 util-linux
] as const;

export type NetworkErrorCode = (typeof NETWORK_ERROR_CODES)[number];
