/**
 * What a router does to what passes it (RFC 4787): which address and port the outside sees, and what comes in unasked.
 * Its interfaces are `wan`, towards the internet, and `lan`, a bridge for all who stand behind it.
 */

/**
 * - `eim`: a home router. One mapping for all destinations; only those who were sent something get in.
 * - `edm`: symmetric. Another port for each destination.
 * - `cone`: full cone. One mapping, and who knows it gets in; hosts behind one cone use different UDP ports.
 * - `one2one`: a cloud's address, all of it for the one host behind it.
 * - `blocked`: a home router that lets no UDP through.
 * - `short`: a home router that forgets after 15 s (one packet) and 20 s (an exchange).
 * - `ipv6`: no translation and no IPv4; a firewall that lets out and not in.
 */
export type RouterKind = 'eim' | 'edm' | 'cone' | 'one2one' | 'blocked' | 'short' | 'ipv6';

/** `open` has a public address and no router; `double` stands behind two home routers, the outer one a carrier's. */
export type NatKind = 'open' | 'double' | RouterKind;

/** Seconds until a router forgets a mapping for UDP. */
export interface MappingSeconds {
  /** After a packet that nobody answered. */
  readonly asked: number;
  /** After an exchange. */
  readonly answered: number;
}

const SHORT: MappingSeconds = { asked: 15, answered: 20 };

/** Kernel settings of a router. */
export function routerSettings(kind: RouterKind, forgets?: MappingSeconds): readonly string[] {
  const seconds = forgets ?? (kind === 'short' ? SHORT : undefined);
  const timeouts =
    seconds === undefined
      ? []
      : [
          `net.netfilter.nf_conntrack_udp_timeout=${seconds.asked}`,
          `net.netfilter.nf_conntrack_udp_timeout_stream=${seconds.answered}`,
        ];
  // hosts of one LAN talk over the bridge and are none of the router's business
  const bridge = ['net.bridge.bridge-nf-call-iptables=0', 'net.bridge.bridge-nf-call-ip6tables=0'];
  return [kind === 'ipv6' ? 'net.ipv6.conf.all.forwarding=1' : 'net.ipv4.ip_forward=1', ...timeouts, ...bridge];
}

const FIREWALL = (passing: string): string => `
  chain direct {
  }
  chain forward_f {
    type filter hook forward priority 0; policy drop;
    ${passing}
    jump direct
    ct state established,related accept
    iifname "lan" accept
  }
  chain input_f {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit } accept
    iifname "lan" accept
  }`;

/**
 * Rules of a router, for nft 1.0.6, which wants a newline before each closing brace and takes `fwd` and `in` for keywords.
 * `host` is the address that a 1:1 router maps to.
 */
export function routerRules(kind: RouterKind, host: string): string {
  const passing: Partial<Record<RouterKind, string>> = {
    blocked: 'meta l4proto udp drop',
    one2one: 'ct status dnat accept',
    cone: `oifname "wan" meta nfproto ipv4 meta l4proto udp update @cone { udp sport : ip saddr . udp sport }
    iifname "wan" ct status dnat accept`,
  };
  const into: Partial<Record<RouterKind, string>> = {
    one2one: `iifname "wan" meta nfproto ipv4 dnat ip to ${host}`,
    cone: 'iifname "wan" dnat ip to udp dport map @cone',
  };
  const outOf = kind === 'edm' ? 'masquerade fully-random' : 'masquerade';
  return `table inet filt {
  map cone {
    type inet_service : ipv4_addr . inet_service
    flags dynamic,timeout
    timeout 2m
  }
  chain prer {
    type nat hook prerouting priority -100;
    ${into[kind] ?? ''}
  }
  chain postr {
    type nat hook postrouting priority 100;
    ${kind === 'ipv6' ? '' : `meta nfproto ipv4 oifname "wan" ${outOf}`}
  }
  ${FIREWALL(passing[kind] ?? '')}
}
`;
}
